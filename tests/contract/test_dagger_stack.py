"""`moorage ci --engine dagger`: the real command, the real SDK, a session that answers by the engine's schema."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import graphql
import pytest

from tests.conftest import ROOT
from tests.contract.dagger_server import Session, processes_with, wait_until

if TYPE_CHECKING:
    from tests.conftest import Project

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
def shop(project: Project, session: Session, dagger_folder, wanted_port, moorage_home) -> Project:
    project.compose(SHOP)
    first = 40_000 + 20 * secrets.randbelow(1000)  # the machine's other tests lease from 20000
    project.env["MOORAGE_PORT_RANGE"] = f"{first}-{first + 19}"
    project.env.update(WEB_PORT=str(wanted_port), TMPDIR=str(dagger_folder), DAGGER_TEST_MARK=project.name)
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
        *(f"stop {name}" for name in ("tunnel of web", "web", "tunnel of api", "api", "tunnel of db", "db")),
    ]
    stops = {(args["kill"], node) for node, name, args in session.calls if name == "stop"}
    assert stops == {(True, "Service"), (False, "Service")}
    assert session.listening == {}
    assert "healthcheck: not run inside Dagger" in done.stderr
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
    assert all(one["experimentalSkipHealthcheck"] for one in args("withExposedPort"))
    started = {json.dumps(one.get("args")): one for one in args("asService")}
    assert started['["serve", "--fast"]']["useEntrypoint"]
    assert {"args": ["/entry"], "keepDefaultArgs": True} in args("withEntrypoint")
    (migration,) = args("withExec")
    assert migration["args"] == ["migrate"]
    assert all(forward["frontend"] for one in args("tunnel") for forward in one["ports"])
    assert len(args("dockerBuild")) == 1


def test_a_one_shot_that_fails_shows_its_output(shop, session, tmp_path):
    extensions = {"_type": "EXEC_ERROR", "cmd": ["migrate"], "exitCode": 3, "stdout": "", "stderr": "no table users"}
    session.fail["combinedOutput"] = graphql.GraphQLError("exit code: 3", extensions=extensions)
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
    assert session.listening == {}


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
    done = ci(shop, "true", args=["-f", "compose.yaml", "-f", "ci.yaml"])
    started = [event.removeprefix("start ") for event in session.events if event.startswith("start")]
    assert [name for name in started if " " not in name] == ["postgres", "redis", "backend", "frontend"]
    assert done.stderr.count("not run inside Dagger") == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it(shop, session, number):
    session.hang = "combinedOutput"
    with shop.start("ci", "--engine", "dagger", "--", "true") as process:
        assert wait_until(lambda: "combinedOutput" in session.fields("Container"))
        process.send_signal(number)
        assert process.wait(60) == 130
    assert wait_until(lambda: session.listening == {})


def test_nothing_is_left_after_a_kill(shop, session):
    with shop.start("ci", "--engine", "dagger", "--", "sleep", "30") as process:
        assert wait_until(lambda: "start tunnel of web" in session.events)
        process.kill()
        process.wait()
    assert wait_until(lambda: not [pid for pid in processes_with(shop.name) if "dagger" in command_of(pid)])
    assert shop.moorage("ls", "--json").json == []
    assert shop.moorage("doctor", "--json", exit_code=None).json[2]["message"].endswith("(0 stacks, 0 leases)")


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
