"""The command as a person or a script meets it, with Prefect behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moorage.adapters.locks.stack import StackLock
from tests.documents import block_with

pytestmark = pytest.mark.engine

TWO = """
    services:
      db:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        volumes: ["data:/data"]
        environment: {{V: "{value}"}}
      web:
        image: ${{TINY_IMAGE}}
        command: [httpd, -f, -p, "80", -h, /etc]
        stop_grace_period: 0s
        ports: ["{port}:80"]
        depends_on: [db]
    volumes: {{data: {{}}}}
"""
FAILING = 'services: {web: {image: "${TINY_IMAGE}", command: [sh, -c, "echo last words; exit 3"], volumes: ["data:/data"]}}\nvolumes: {data: {}}\n'
NEVER_READY = (
    'services: {web: {image: "${TINY_IMAGE}", command: [sleep, "3600"], stop_grace_period: 0s, '
    'healthcheck: {test: [CMD, "false"], interval: 60s}}}\n'
)


@pytest.fixture
def two(project, free_ports):
    """A project of two services, not started. What is left of it goes with the test, by way of its prefix."""
    return project.compose(TWO.format(port=free_ports(), value=1))


def ids(project):
    said = subprocess.run(
        ["docker", "ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={project.name}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(said.stdout.split())


# --- a life --------------------------------------------------------------------------------------------------


def test_up_says_all_there_is_to_know(two, docker_compose):
    found = two.moorage("up", "--json").json
    assert set(found) == {
        "stack", "path", "state", "generation", "services", "networks", "shared_networks", "elapsed_s", "changed", "flow_run_id",
        "flow_run_url", "notices", "engine",
    }  # fmt: skip
    assert (found["stack"], found["path"], found["state"], found["generation"]) == (
        two.name,
        str(two.path),
        "running",
        1,
    )
    assert found["changed"] == ["db", "web"]
    assert found["elapsed_s"] > 0
    assert found["flow_run_id"] in found["flow_run_url"]
    web = found["services"]["web"]
    assert set(web) == {
        "state", "ready", "engine_health", "containers", "image_id", "exit_code", "oom_killed", "restarts",
        "time_to_ready_s", "ports", "addresses",
    }  # fmt: skip
    assert (web["state"], web["ready"], web["exit_code"], web["restarts"]) == ("running", True, None, 0)
    assert web["image_id"].startswith("sha256:")
    assert 0 < web["time_to_ready_s"] < 20
    (port,) = web["ports"]
    assert set(port) == {"target", "protocol", "host_ip", "published"}
    status = two.moorage("status", "--json").json
    assert {key: found[key] for key in status} == status
    said = subprocess.run(
        [docker_compose, "-p", two.name, "ps", "--format", "json"], check=True, capture_output=True, text=True
    )
    listed = [json.loads(line) for line in said.stdout.splitlines()]
    assert sorted((one["Service"], one["State"]) for one in listed) == [("db", "running"), ("web", "running")]
    for verb in ("status", "ls", "ports", "plan"):
        assert two.moorage(verb).stdout.strip()


def test_up_again_does_nothing(two):
    first = two.moorage("up", "--json").json
    before = ids(two)
    again = two.moorage("up", "--json").json
    assert again["changed"] == []
    assert (again["flow_run_id"], again["flow_run_url"]) == (None, None)
    assert again["services"] == first["services"]
    assert ids(two) == before
    words = two.moorage("up")
    assert "nothing to do" in words.stderr
    assert "localhost:" in words.stdout
    two.compose((two.path / "compose.yaml").read_text().replace('V: "1"', 'V: "2"'))
    changed = two.moorage("up", "--json").json
    assert (changed["changed"], changed["generation"]) == (["db"], 2)


def test_down_keeps_volumes_and_leases_until_told(two, machine_state):
    port = two.moorage("up", "--json").json["services"]["web"]["ports"][0]["published"]
    assert two.moorage("down", "--json").json["state"] == "absent"
    assert machine_state.now() == {"containers": set(), "networks": set(), "volumes": {f"{two.name}_data"}}
    assert [lease["port"] for lease in two.moorage("ports", "--json").json] == [port]
    assert [one["state"] for one in two.moorage("ls", "--json").json if one["name"] == two.name] == ["absent"]
    two.moorage("down", "--volumes", "--release-ports")
    assert machine_state.now() == {"containers": set(), "networks": set(), "volumes": set()}
    assert two.moorage("ports", "--json").json == []
    assert two.name not in [one["name"] for one in two.moorage("ls", "--json").json]
    two.moorage("down")  # nothing left to do is no error


def test_stop_and_start_keep_the_containers(two):
    two.moorage("up")
    before = ids(two)
    stopped = two.moorage("stop", "--json").json
    assert (stopped["state"], {service["state"] for service in stopped["services"].values()}) == ("stopped", {"exited"})
    assert two.moorage("wait", "--timeout", "0.5", "--json", exit_code=5).json["reason"] == "timeout"
    assert two.moorage("start", "--json").json["state"] == "running"
    assert ids(two) == before
    two.moorage("stop", "web")
    assert two.moorage("status", "--json").json["state"] == "degraded"
    for verb in ("stop", "start", "restart"):
        assert "nosuch" in two.moorage(verb, "nosuch", exit_code=2).stderr
    two.moorage("start", "web")
    assert two.moorage("wait", "--json").json["state"] == "running"


@pytest.mark.timeout(600)
def test_restart_brings_back_what_was_down_with_it(two, docker_client):
    two.moorage("up")
    before = ids(two)
    docker_client.containers.get(f"{two.name}-web-1").kill()
    restarted = two.moorage("restart", "db", "--json").json
    assert (restarted["state"], restarted["changed"]) == ("running", ["db", "web"])  # web depends on it
    assert restarted["flow_run_id"] in restarted["flow_run_url"]
    assert ids(two) == before


# --- exit codes ----------------------------------------------------------------------------------------------


def error_of(done, code, kind):
    """The JSON of an error that a command ended with; the words are on stderr."""
    found = done.json
    assert (found["error"], found["exit_code"], done.returncode) == (kind, code, code)
    assert found["message"].splitlines()[0] in done.stderr
    return found


def test_exit_2_no_compose_file(project):
    error = error_of(project.moorage("up", "--json", exit_code=2), 2, "DefinitionError")
    assert error["file"] == str(project.path)


def test_exit_2_for_a_definition_that_is_wrong(project, machine_state):
    project.compose("services: {web: {image: x, imag: y}}")
    error = error_of(project.moorage("up", "--json", exit_code=2), 2, "DefinitionError")
    assert (error["service"], error["file"]) == ("web", str(project.path / "compose.yaml"))
    project.compose("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}")
    assert "cycle" in error_of(project.moorage("up", "--json", exit_code=2), 2, "DefinitionError")["message"]
    project.compose("services: {web: {provider: {type: cloud}}}")
    error = error_of(project.moorage("up", "--json", exit_code=2), 2, "UnsupportedKeyError")
    assert error["key"] == "services.web.provider"


@pytest.mark.parametrize(
    "wrong", [["up", "--no-such-option"], ["nosuchverb"], ["status", "a", "b"], ["wait", "--timeout", "soon"]]
)
def test_exit_2_for_a_command_line_that_is_wrong(wrong, project):
    assert project.moorage(*wrong, exit_code=2).stderr.startswith("error: ")


@pytest.mark.parametrize("verb", ["stop", "start", "wait"])
def test_exit_2_for_a_stack_that_is_not_there(verb, project):
    project.compose(FAILING)
    error_of(project.moorage(verb, "--json", exit_code=2), 2, "DefinitionError")


def test_exit_3_names_the_holder_of_the_port(project, free_ports, listen, machine_state):
    port = free_ports()
    listen(port)
    project.compose(TWO.format(port=port, value=1))
    error = error_of(project.moorage("up", "--strict-ports", "--json", exit_code=3), 3, "PortError")
    assert (error["port"], error["service"]) == (port, "web")
    assert f"pid {os.getpid()}" in error["holder"]


@pytest.mark.parametrize("verb", ["up", "status", "plan", "ls", "down"])
def test_exit_4_no_engine(verb, project, tmp_path):
    project.compose(FAILING)
    done = project.moorage(verb, "--json", exit_code=None, DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    if verb == "ls" and done.returncode == 0:  # no stack of its own to ask the engine about
        assert done.json == []
        return
    error_of(done, 4, "EngineUnavailableError")


def test_exit_4_no_compose(project):
    project.compose(FAILING)
    error_of(project.moorage("plan", "--json", exit_code=4, MOORAGE_COMPOSE="/nowhere"), 4, "ComposeUnavailableError")


def test_exit_5_says_why_and_leaves_nothing(project, machine_state):
    project.compose(FAILING)
    done = project.moorage("up", "--json", exit_code=5)
    error = error_of(done, 5, "NotReadyError")
    for words in ("web", "exit code 3", "last words"):
        assert words in done.stderr
    assert (error["service"], error["reason"], error["exit_code_of_service"]) == ("web", "exited", 3)
    assert error["log"].strip() == "last words"
    assert (error["undone"], Path(error["report"]).is_file()) == (True, True)
    machine_state.assert_same()
    assert project.moorage("ports", "--json").json == []
    assert [run["outcome"] for run in project.moorage("history", "--runs", "--json").json] == ["undone"]
    assert "no generations yet" in project.moorage("history").stdout


def test_exit_7_names_who_holds_the_stack(project):
    project.compose(FAILING)
    lock = StackLock(Path(os.environ["MOORAGE_HOME"]) / "locks", project.name)
    with lock.acquire("up", 1):
        done = project.moorage("up", "--lock-timeout", "0.2", "--json", exit_code=7)
        status = project.moorage("status", "--json")
    error = error_of(done, 7, "BusyError")
    assert (error["operation"], error["pid"]) == ("up", os.getpid())
    assert "--lock-timeout" in done.stderr
    assert status.json["state"] == "absent", "who only reads waits for nobody"


def test_exit_8_no_hub(project, machine_state):
    project.compose(FAILING)
    done = project.moorage("up", "--json", exit_code=8, PREFECT_API_URL="http://127.0.0.1:9/api")
    error_of(done, 8, "HubError")
    machine_state.assert_same()


def test_what_ends_a_stack_needs_no_hub(project, tiny_image, machine_state):
    project.compose(f"services: {{web: {{image: '{tiny_image}', command: sleep 600, init: true}}}}").moorage("up")
    for verb in (["stop", "--timeout", "0"], ["start"], ["down", "--volumes", "--timeout", "0"]):
        done = project.moorage(*verb, PREFECT_API_URL="http://127.0.0.1:9/api")
        assert (
            "http://127.0.0.1:9/api, named by PREFECT_API_URL, does not answer: this is done without it" in done.stderr
        )
    machine_state.assert_same()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_exit_130_interrupted_and_undone(number, project, machine_state):
    project.compose(NEVER_READY)
    going = project.start("up", "--json")
    try:
        deadline = time.monotonic() + 240
        while not ids(project) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ids(project), "it has not begun"
        going.send_signal(number)
        out, err = going.communicate(timeout=100)
    finally:
        if going.poll() is None:
            going.kill()
            going.communicate()
    assert going.returncode == 130, err
    assert json.loads(out)["error"] == "InterruptedRunError"
    machine_state.assert_same()


def test_kept_for_a_look(project, machine_state):
    project.compose(FAILING)
    error = error_of(project.moorage("up", "--keep-failed", "--json", exit_code=5), 5, "NotReadyError")
    assert error["undone"] is False
    assert len(ids(project)) == 1
    project.moorage("down", "--name", project.name, "--volumes", "--release-ports")
    machine_state.assert_same()


# --- the definition, for others ------------------------------------------------------------------------------


def test_the_override_gives_plain_compose_the_same_ports(project, free_ports, listen, docker_compose):
    port = free_ports()
    listen(port)
    project.compose(TWO.format(port=port, value=1))
    override = project.write("o.yaml", project.moorage("config", "--override").stdout)
    said = subprocess.run(
        [docker_compose, "-f", "compose.yaml", "-f", override, "config", "--format", "json"],
        cwd=project.path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (mapping,) = json.loads(said.stdout)["services"]["web"]["ports"]
    assert (mapping["host_ip"], mapping["published"]) == ("127.0.0.1", str(port + 1))
    (resolved,) = project.moorage("config").json["services"]["web"]["ports"]
    assert (resolved["host_ip"], resolved["published"]) == ("127.0.0.1", str(port + 1))


def test_secrets_are_hidden_unless_asked_for(project):
    project.compose("services: {web: {image: x, environment: {DB_PASSWORD: hunter2, PLAIN: visible}}}")
    assert "hunter2" not in project.moorage("config").stdout
    assert "visible" in project.moorage("config").stdout
    assert "hunter2" in project.moorage("config", "--show-secrets").stdout


def test_options_select_as_with_compose(project, stack_prefix):
    project.compose("services: {web: {image: '${IMAGE:-none}'}, debug: {image: x, profiles: [debug]}}")
    project.write("more.yaml", "services: {more: {image: x}}")
    project.write("my.env", "IMAGE=of-env-file")
    done = project.moorage(
        *("config", "-f", "compose.yaml", "--file", "more.yaml", "--profile", "debug", "--env-file", "my.env"),
        *("-p", f"{stack_prefix}-named"),
    )
    assert set(done.json["services"]) == {"web", "debug", "more"}
    assert done.json["services"]["web"]["image"] == "of-env-file"
    assert done.json["name"] == f"{stack_prefix}-named"
    project.write("sub/compose.yaml", "services: {sub: {image: x}}")
    assert set(project.moorage("config", "--project-directory", "sub").json["services"]) == {"sub"}


# --- the examples in the documents ---------------------------------------------------------------------------


def test_what_the_readme_says(project, free_ports):
    project.compose("""
        services:
          backend:
            image: ${TINY_IMAGE}
            command: [sh, -c, "mkdir /www; echo well > /www/health; exec httpd -f -p 8000 -h /www"]
            init: true
            ports: ["${BACKEND_PORT:-8000}:8000"]
            environment: {OWN_URL: "http://localhost:${BACKEND_PORT:-8000}"}
    """)
    project.write("compose.override.yaml", block_with("README.md", "yaml", "x-moorage"))
    project.env["BACKEND_PORT"] = str(free_ports())
    shell = block_with("README.md", "sh", "moorage plan")
    shell = shell.replace("moorage down", "moorage config --override\nmoorage down")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", shell],
        cwd=project.path, env=os.environ | project.env | {"PATH": path}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 service ready" in done.stderr
    assert f"BACKEND_PORT={project.env['BACKEND_PORT']}" in done.stdout
    assert project.moorage("status", "--json").json["state"] == "absent"


def test_the_example_of_contributing(project, tiny_image, machine_state):
    names = {}
    exec(block_with("CONTRIBUTING.md", "python", "def test_"), names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    test(project=project, tiny_image=tiny_image, machine_state=machine_state)
