"""`moorage ci --engine dagger`: the real command, the real SDK, a session that behaves as the engine does.

The session is opened by a CLI of its own process, as a real one is: that is who listens for tunnels.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.contract.dagger_server import Session, processes_with, wait_until
from tests.contract.dagger_services import Conduct, exec_error

if TYPE_CHECKING:
    from tests.conftest import Project
    from tests.contract.conftest import FakeCli

SHOP = """
services:
  web:
    build: web
    depends_on: {api: {condition: service_started}}
    ports: ["${WEB_PORT:-3000}:3000"]
    x-moorage: {ready: {http: /}}
  api:
    image: api:1
    command: ["serve", "--fast"]
    entrypoint: ["/entry"]
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    environment: {API_TOKEN: hunter2, WEB: "http://localhost:${WEB_PORT:-3000}"}
    ports: ["8000"]
    secrets: [key]
    configs: [{source: conf, target: /etc/conf}]
    volumes: [{type: bind, source: ./static, target: /static, read_only: true}, {type: tmpfs, target: /tmp}]
  migrate:
    image: api:1
    command: ["migrate"]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:17
    user: postgres
    working_dir: /
    init: true
    volumes: ["data:/var/lib/postgresql/data"]
    ports: ["5432"]
    healthcheck: {test: ["CMD", "pg_isready"]}
volumes: {data: {}}
secrets: {key: {file: ./key}}
configs: {conf: {content: "a: 1"}}
"""
WITHOUT_LIMITS = """
services:
  postgres: {deploy: !reset null, shm_size: !reset null}
  redis: {deploy: !reset null}
  backend: {deploy: !reset null}
  frontend: {deploy: !reset null}
"""
LOOK = (
    "import json, os, sys, urllib.request as u; "
    "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('MOORAGE_')})); "
    "sys.exit(u.urlopen(os.environ['MOORAGE_URL_WEB_3000']).status - 200 + int(sys.argv[1]))"
)


@pytest.fixture
def started(project: Project) -> None:
    """What `project.moorage` forks is there before the variables are that mark what belongs to a test."""
    project.moorage("--version")


@pytest.fixture
def session(started: None, fake_cli: FakeCli) -> Session:
    return fake_cli.session


@pytest.fixture
def shop(project: Project, session: Session, dagger_folder, moorage_home) -> Project:
    project.compose(SHOP)
    first = 10_000 + 20 * secrets.randbelow(490)  # the machine's other tests lease from 20000, its kernel from 32768
    project.env["MOORAGE_PORT_RANGE"] = f"{first}-{first + 18}"
    project.env.update(WEB_PORT=str(first + 19), TMPDIR=str(dagger_folder), DAGGER_TEST_MARK=project.name)
    project.write("web/Dockerfile", "FROM scratch\n")
    project.write("static/index.html", "hello")
    project.write("key", "of the file")
    session.answers["combinedOutput"] = "migrated"
    return project


def ci(shop: Project, *command: str, **options):
    return shop.moorage("ci", "--engine", "dagger", *options.pop("args", ()), "--", *command, **options)


def test_from_the_first_service_to_the_last(shop, session, moorage_home):
    done = ci(shop, sys.executable, "-c", LOOK, "7", exit_code=7)
    seen = json.loads(done.stdout)
    ports = {seen[name] for name in ("MOORAGE_PORT_WEB_3000", "MOORAGE_PORT_API_8000", "MOORAGE_PORT_DB_5432")}
    assert len(ports) == 3
    assert {seen["MOORAGE_HOST_DB_5432"]} == {"127.0.0.1"}
    # Each when what it stands on is ready; all stopped in reverse, tunnels first.
    assert session.events == [
        *(f"start {name}" for name in ("db", "tunnel of db", "api", "tunnel of api", "web", "tunnel of web")),
        *(f"stop {name}" for name in ("tunnel of web by SIGKILL", "web", "tunnel of api by SIGKILL", "api")),
        *(f"stop {name}" for name in ("tunnel of db by SIGKILL", "db")),
    ]
    assert session.listening == []
    assert "healthcheck" not in done.stderr
    # The variable of the mapping has the leased port, so all that is built from it agrees.
    web = {one["value"] for one in session.arguments_of("withEnvVariable") if one["name"] == "WEB"}
    assert web == {f"http://localhost:{seen['MOORAGE_PORT_WEB_3000']}"}


def test_every_part_of_a_service_is_passed_on(shop, session):
    ci(shop, "true")
    args = session.arguments_of
    assert {one["address"] for one in args("from")} == {"postgres:17", "api:1"}
    assert {"name": "postgres"} in args("withUser")
    assert {one["plaintext"] for one in args("setSecret")} == {"hunter2", "of the file", "a: 1"}
    assert {one["name"] for one in args("withSecretVariable")} == {"API_TOKEN"}
    assert "hunter2" not in json.dumps(args("withEnvVariable"))
    assert {one["path"] for one in args("withMountedSecret")} == {"/run/secrets/key", "/etc/conf"}
    assert {one["path"] for one in args("withMountedTemp")} == {"/tmp"}
    assert {one["path"] for one in args("withDirectory")} == {"/var/lib/postgresql/data", "/static"}
    assert {one["alias"] for one in args("withServiceBinding")} == {"db", "api"}
    asked = {one["port"] for one in args("withExposedPort") if not one["experimentalSkipHealthcheck"]}
    assert asked == {3000, 5432, 8000}
    started = {json.dumps(one.get("args")): one for one in args("asService")}
    assert started['["serve", "--fast"]']["useEntrypoint"]
    assert {"args": ["/entry"], "keepDefaultArgs": True} in args("withEntrypoint")
    (migration,) = args("withExec")
    assert migration["args"] == ["migrate"]
    assert all(forward["frontend"] for one in args("tunnel") for forward in one["ports"])
    assert len(args("dockerBuild")) == 1


def test_a_one_shot_that_fails_shows_its_output(shop, session, tmp_path):
    session.fail["combinedOutput"] = exec_error("", 3, stderr="no table users\n")
    failed = ci(shop, "true", exit_code=5, args=["--artifacts", str(tmp_path / "kept")])
    assert "no table users" in failed.stderr
    result = json.loads((tmp_path / "kept" / "result.json").read_text())
    assert (result["error"]["service"], result["error"]["exit_code_of_service"]) == ("migrate", 3)
    assert session.events[-1] == "stop db"


def test_a_service_that_never_answers(shop, session):
    shop.compose(SHOP.replace("{http: /}", "{http: {path: /, status: 503}}"))
    failed = ci(shop, "true", exit_code=5, args=["--wait-timeout", "1"])
    assert "error: services.web: not ready after 1.0 s" in failed.stderr
    assert "answered 200, not 503" in failed.stderr
    assert session.listening == []


def test_what_dagger_cannot_do_is_refused_before_a_session(shop, session):
    shop.compose(SHOP.replace("init: true", "init: true\n    deploy: {resources: {limits: {memory: 64M}}}"))
    failed = ci(shop, "true", exit_code=2)
    assert "services.db.deploy: dagger does not support it: there are no limits" in failed.stderr
    assert session.calls == []


def test_the_example_without_its_limits(shop, session):
    """With them it is refused by name; the override is that of docs/dagger.md and of `make test-dagger`."""
    example = ROOT / "examples" / "commandcenter"
    shutil.copytree(example, shop.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", ".env"))
    ports = ("POSTGRES_PORT", "REDIS_PORT", "BACKEND_PORT", "FRONTEND_PORT")
    shop.env.update({name: str(int(shop.env["WEB_PORT"]) + 40 + number) for number, name in enumerate(ports)})
    assert "services.backend.deploy: dagger does not support it" in ci(shop, "true", exit_code=2).stderr
    (shop.path / "ci.yaml").write_text(WITHOUT_LIMITS)
    ci(shop, "true", args=["-f", "compose.yaml", "-f", "ci.yaml"])
    started = [event.removeprefix("start ") for event in session.events if event.startswith("start")]
    assert [name for name in started if " " not in name] == ["postgres", "redis", "backend", "frontend"]
    assert len(session.arguments_of("withDockerHealthcheck")) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)])
def test_a_signal_ends_all_of_it(shop, session, number):
    session.hang = "combinedOutput"
    with shop.start("ci", "--engine", "dagger", "--", "true") as process:
        assert wait_until(lambda: "combinedOutput" in session.fields("Container"))
        process.send_signal(number)
        assert process.wait(60) == 130
    assert wait_until(lambda: session.listening == [])


def test_nothing_is_left_after_a_kill(shop, session):
    with shop.start("ci", "--engine", "dagger", "--", "sleep", "3600") as process:
        assert wait_until(lambda: "start tunnel of web" in session.events)
        process.kill()
        process.wait()
    assert wait_until(lambda: not [pid for pid in processes_with(shop.name) if "dagger" in command_of(pid)])
    assert wait_until(lambda: all(one.exited.is_set() for one in session.running.values()))
    assert {one.end_of[0] for one in session.running.values()} == {137}, "killed, none was asked to end"
    assert shop.moorage("ls", "--json").json == []
    found = {one["check"]: one["message"] for one in shop.moorage("doctor", "--json", exit_code=None).json}
    assert found["home"].endswith("(0 stacks, 0 leases)")


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


# --- as the engine really behaves ----------------------------------------------------------------------------

LISTENERS = """
import json, os, pathlib
ports = {int(value) for name, value in os.environ.items() if name.startswith("MOORAGE_PORT_") and name.count("_") > 2}
lines = [line.split() for table in ("tcp", "tcp6") for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]]
places = sorted((int(port, 16), address) for address, port in (one[1].split(":") for one in lines if one[3] == "0A"))
print(json.dumps([place for place in places if place[0] in ports]))
"""
LOOPBACK = "0100007F"


def test_nobody_on_the_network_reaches_a_service(shop, session):
    """The engine has its tunnels listen at all addresses of the machine: that must not be seen from outside."""
    places = json.loads(ci(shop, sys.executable, "-c", LISTENERS).stdout)
    assert len(places) == 3
    assert {address for _, address in places} == {LOOPBACK}


def test_a_service_that_does_not_listen_is_not_ready(shop, session):
    """Its tunnel accepts connections all the same."""
    session.conduct["api"] = Conduct()
    session.conduct["api"].listens.clear()
    failed = ci(shop, "true", exit_code=5, args=["--wait-timeout", "1"])
    assert "error: services.api: not ready after 1.0 s" in failed.stderr
    assert "start web" not in session.events
    assert "stop api" not in session.events, "the engine would wait for its start first"


@pytest.mark.exhaustive
def test_a_service_that_the_engine_gives_up_is_not_ready(shop, session):
    """It asks a port for 15 minutes."""
    session.conduct["api"] = Conduct(asked_s=0.2)
    session.conduct["api"].listens.clear()
    failed = ci(shop, "true", exit_code=5)
    assert "error: services.api: not ready: its port did not accept connections: 8000/tcp: dial tcp" in failed.stderr


def test_a_service_that_listens_late_is_waited_for(shop, session):
    session.conduct["api"] = late = Conduct()
    late.listens.clear()
    with shop.start("ci", "--engine", "dagger", "--", "true") as process:
        assert wait_until(lambda: "start api" in session.events)
        late.listens.set()
        assert process.wait(120) == 0
    assert "start web" in session.events


@pytest.mark.parametrize("code", [pytest.param(0, marks=pytest.mark.exhaustive), 3])
def test_a_service_that_ends_shows_its_output(shop, session, tmp_path, code):
    session.conduct["api"] = Conduct(ends=(code, "reading /etc/conf\n", "no such key\n"))
    failed = ci(shop, "true", exit_code=5, args=["--artifacts", str(tmp_path / "kept")])
    error = json.loads((tmp_path / "kept" / "result.json").read_text())["error"]
    assert (error["service"], error["reason"]) == ("api", "exited")
    if code:
        assert error["exit_code_of_service"] == code
        assert "reading /etc/conf\nno such key\n" in failed.stderr
        assert "dockerignore" not in failed.stderr, "what Dagger logs is no output of the service"
        assert "services.api: ended with exit code 3 before it was ready\n" in failed.stderr
    assert "traceparent" not in failed.stderr


@pytest.mark.exhaustive
def test_a_service_that_takes_another_with_it(shop, session):
    """The engine kills whatever is bound to a service that has ended; that nobody then reaches either is no surprise."""
    with shop.start("ci", "--engine", "dagger", "--", "sleep", "3600") as process:
        assert wait_until(lambda: "start tunnel of web" in session.events)
        session.running["db"].end(1)
        assert wait_until(lambda: session.listening == [])
        assert [event for event in session.events if event.startswith("kill")] == ["kill api", "kill web"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60)


def test_health_checks_are_passed_on(shop, session):
    """Compose's, with its times; what switches one off does so; an image's own is left to the engine."""
    timed = "healthcheck: {test: ['CMD', 'pg_isready'], interval: 5s, timeout: 2s, retries: 7, start_period: 1m}"
    shop.compose(SHOP.replace('healthcheck: {test: ["CMD", "pg_isready"]}', timed))
    session.healthchecks["api:1"] = ("CMD-SHELL", "wget -q localhost")
    ci(shop, "true")
    (asked,) = session.arguments_of("withDockerHealthcheck")
    assert (asked["args"], asked.get("shell"), asked["retries"]) == (["pg_isready"], None, 7)
    assert (asked["interval"], asked["timeout"], asked["startPeriod"]) == ("5.000s", "2.000s", "60.000s")
    assert session.running["db"].health == ("CMD", "pg_isready")
    assert session.running["api"].health == ("CMD-SHELL", "wget -q localhost")


def test_an_image_with_no_health_check_can_be_started(shop, session):
    """`HEALTHCHECK NONE` makes the engine fail, and so would a service whose check is switched off."""
    shop.compose(SHOP.replace('{test: ["CMD", "pg_isready"]}', "{disable: true}"))
    session.healthchecks |= {"api:1": ("NONE",), "postgres:17": ("CMD", "pg_isready")}
    ci(shop, "true")
    assert {session.running[name].health for name in ("db", "api", "web")} == {None}


@pytest.mark.exhaustive
def test_times_of_an_image_s_health_check(shop, session):
    """As Compose has it: the image's command, at the definition's times."""
    shop.compose(SHOP.replace('{test: ["CMD", "pg_isready"]}', "{interval: 3s, start_period: 9s, start_interval: 1s}"))
    session.healthchecks["postgres:17"] = ("CMD-SHELL", "pg_isready -q")
    ci(shop, "true")
    (asked,) = session.arguments_of("withDockerHealthcheck")
    assert (asked["args"], asked["shell"]) == (["pg_isready -q"], True)
    assert (asked["interval"], asked["startInterval"]) == ("3.000s", "1.000s")


def test_a_health_check_that_fails_shows_its_output(shop, session, tmp_path):
    shop.compose(SHOP.replace("user: postgres", "user: postgres\n    environment: {PGPASSWORD: hunter2, PGUSER: me}"))
    session.conduct["db"] = Conduct(sick=(2, "no response\n"))
    failed = ci(shop, "true", exit_code=5, args=["--artifacts", str(tmp_path / "kept")])
    error = json.loads((tmp_path / "kept" / "result.json").read_text())["error"]
    assert (error["service"], error["reason"]) == ("db", "unhealthy")
    assert "no response" in failed.stderr
    assert "does not give it the variables that look secret: PGPASSWORD." in failed.stderr
    assert "traceparent" not in failed.stderr


@pytest.mark.parametrize(
    "cut_off",
    [
        ("health check errored: container 46stg51i28v66aaamdnx4j2fy has stopped", None, ""),
        pytest.param(("health check errored: ", 137, ""), marks=pytest.mark.exhaustive),
        pytest.param(
            ("health check errored: ", 255, "exec failed: cannot exec in a stopped container\n"),
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_a_service_that_ends_in_its_health_check_is_not_called_unhealthy(shop, session, tmp_path, cut_off):
    """The engine tells one of three errors of the check, and the service's own never comes."""
    session.conduct["db"] = Conduct(cut_off=cut_off)
    failed = ci(shop, "true", exit_code=5, args=["--artifacts", str(tmp_path / "kept")])
    error = json.loads((tmp_path / "kept" / "result.json").read_text())["error"]
    assert (error["service"], error["reason"]) == ("db", "exited")
    assert "services.db: seems to have ended before it was ready: health check errored: " in failed.stderr
    assert "traceparent" not in failed.stderr


@pytest.mark.exhaustive
def test_a_health_check_that_never_succeeds_is_given_up(shop, session):
    """The engine has no limit; ours is that of the check where nothing shorter is asked for."""
    session.conduct["db"] = Conduct()
    session.conduct["db"].healthy.clear()
    assert (
        "error: services.db: not ready after 1.0 s"
        in ci(shop, "true", exit_code=5, args=["--wait-timeout", "1"]).stderr
    )


def test_what_does_not_heed_its_signal_is_killed(shop, session):
    """Process 1 without an init: the engine sends SIGTERM and waits for ever."""
    shop.compose(
        SHOP.replace(
            'image: api:1\n    command: ["serve"', 'image: api:1\n    stop_grace_period: 1s\n    command: ["serve"'
        )
    )
    session.conduct["api"] = Conduct(deaf=True)
    done = ci(shop, "true")
    stops = [event for event in session.events if event.startswith("stop ") and "tunnel" not in event]
    assert stops == ["stop web", "stop api", "stop api by SIGKILL", "stop db"]
    assert session.running["api"].end_of[0] == 137
    assert "api: killed: it ignored SIGTERM for 1 s" in done.stderr
    assert "web: stopped" in done.stderr


def test_a_port_of_the_dockerfile_is_not_waited_for(shop, session):
    """The engine asks each port that a Dockerfile exposes; Docker asks none."""
    session.exposed["Dockerfile"] = 9999
    ci(shop, "true")
    assert session.running["web"].ports == (3000,)


def test_words_of_the_engine_stay_with_it(shop, session):
    """No ids of traces, no colours, and what the command said before what the engine says of itself."""
    shop.compose("services: {web: {build: web}}")
    session.fail["sync"] = exec_error("failed to clone built container state: ", 3, "step one\n", "about to fail\n")
    failed = ci(shop, "true", exit_code=5)
    assert "services.web: build failed: exit code: 3\n" in failed.stderr
    assert "$ x\nstep one\nabout to fail\n" in failed.stderr
    for word in ("traceparent", "clone built", "\x1b["):
        assert word not in failed.stderr
    assert failed.stderr.index("about to fail") < failed.stderr.rindex("dockerignore: no such file")
