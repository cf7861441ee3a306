"""`moorage ci` with a team's Prefect server that asks for a password: start and end are flow runs there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MachineState, Project

pytestmark = pytest.mark.timeout(600)

AUTH = "ci:a-password"


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[str]:
    """The API address of a Prefect server with basic auth."""
    home = tmp_path / "prefect-server"
    env = os.environ | {"PREFECT_SERVER_API_AUTH_STRING": AUTH, "PREFECT_API_AUTH_STRING": AUTH}
    env |= {"PREFECT_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
    with (tmp_path / "server.log").open("w") as log:
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(free_port)]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        api_url = f"http://127.0.0.1:{free_port}/api"
        _until_it_answers(api_url)
        yield api_url
    finally:
        process.terminate()
        process.wait(30)


def _until_it_answers(api_url: str) -> None:
    deadline = time.monotonic() + 240
    while True:
        try:
            ask(api_url, "/flow_runs/filter")
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        else:
            return


def ask(api_url: str, path: str) -> Any:
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Basic {base64.b64encode(AUTH.encode()).decode()}",
    }
    with urllib.request.urlopen(urllib.request.Request(f"{api_url}{path}", b"{}", headers), timeout=60) as answer:
        return json.load(answer)


@pytest.mark.exhaustive
def test_runs_are_recorded_on_the_server(
    project: Project, tiny_image: str, machine_state: MachineState, moorage_home: Path, server: str
) -> None:
    project.compose(
        f"services: {{web: {{image: '{tiny_image}', command: httpd -f -p 8000, init: true, ports: ['8000']}}}}"
    )
    env = {"PREFECT_API_URL": server, "PREFECT_API_AUTH_STRING": AUTH}
    show = "echo $MOORAGE_STACK; env | grep ^PREFECT_SERVER_EPHEMERAL_ENABLED; env | grep -c ^PREFECT_LOGGING"
    done = project.moorage("ci", "--artifacts", "kept", "--", "sh", "-c", f"{show}; exit 4", exit_code=4, **env)
    stack, _, ours = done.stdout.splitlines()
    assert ours == "0", "Prefect settings of our run do not leak into the command"
    runs = {run["name"]: run["state_type"] for run in ask(server, "/flow_runs/filter")}
    assert runs == {f"up {stack}": "COMPLETED", f"down {stack}": "COMPLETED"}
    assert f"{server.removesuffix('/api')}/runs/flow-run/" in (project.path / "kept" / "summary.md").read_text()
    machine_state.assert_same()
    assert project.moorage("ports", "--all", "--json").json == []
    wrong = project.moorage("ci", "--", "true", exit_code=8, PREFECT_API_URL=server, PREFECT_API_AUTH_STRING="ci:no")
    assert "401" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    for verb in (["up"], ["up", "--detach"], ["sweep"], ["runs"], ["hub", "start"]):
        wrong = project.moorage(*verb, exit_code=8, PREFECT_API_URL=server, PREFECT_API_AUTH_STRING="ci:no")
        assert "wrong or missing password" in wrong.stderr, verb
        assert "Traceback" not in wrong.stderr, verb
