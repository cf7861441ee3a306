"""The hub reacts: failures are told, drift is mended, dead runs become Crashed and are swept up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, automations
from moorage.hub.project import project_directory, whole_environment
from tests.conftest import ROOT
from tests.killing import kill_9
from tests.orchestrated.conftest import OwnHub, address_in, create_run, hub, state_of, wait_for, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]

FILES = ROOT / "deploy" / "automations"
WEB = "services: {{web: {{image: '{image}', init: true, command: {command}}}}}"


def in_project(address: HubAddress, code: str) -> None:
    """Run code as flows do: with Prefect pointed to the hub."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project_directory(),
        env=whole_environment(address),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def channel() -> Iterator[tuple[str, list[Any]]]:
    """A chat channel: its address, and the messages that came."""
    came: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        server.server_close()


def runs_named(address: HubAddress, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.call(
        address, "POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}
    )
    return found


@pytest.fixture
def own_automations(hub_address: HubAddress) -> Iterator[None]:
    """What a test adds to the shared hub's automations goes with it: else it meddles with the other tests' stacks."""
    before = {one["id"] for one in api.call(hub_address, "POST", "/automations/filter", {})}
    yield
    for one in api.call(hub_address, "POST", "/automations/filter", {}):
        if one["id"] not in before:
            api.call(hub_address, "DELETE", f"/automations/{one['id']}")


@pytest.mark.usefixtures("own_automations")
def test_a_failure_is_told_and_drift_is_mended(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    with channel() as (url, came):
        in_project(
            hub_address,
            "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Block\n"
            f"Block(name='ops', url={url!r}, json_data={{'subject': '{{{{subject}}}}', 'body': '{{{{body}}}}'}})"
            ".save('ops', overwrite=True)",
        )
        refused = hub("automate", str(FILES / "notify-on-failure.yaml"), exit_code=2)
        assert "--block TYPE/NAME" in refused.stderr
        both = [str(file) for file in sorted(FILES.glob("*.yaml"))]
        for _ in range(2):  # the second time replaces
            added = hub("automate", *both, "--block", "custom-webhook/ops").stdout.splitlines()
        assert added == ["moorage: notify on failure", "moorage: restart on drift"]
        found = api.call(hub_address, "POST", "/automations/filter", {})
        assert sorted(one["name"] for one in found) == sorted(
            [*added, "moorage: dead runs", "moorage: sweep after a crash"]
        )
        project.compose(WEB.format(image=tiny_image, command="[sh, -c, 'exit 3']"))
        project.moorage("up", exit_code=5)
        # Other tests' stacks are on the same hub, and some of them fail too.
        told = f"Moorage: {project.name} failed"
        wait_for(lambda: told in [one["subject"] for one in came])
        (message,) = [one for one in came if one["subject"] == told]
        assert "exit code 3" in message["body"]
        assert "It was undone." in message["body"]
    project.compose(WEB.format(image=tiny_image, command="sleep 3600"))
    project.moorage("up")
    in_project(
        hub_address,
        f"from tasks.run_artifacts import announce; announce('drifted', {project.name!r}, services=['web'])",
    )
    wait_for(lambda: bool(runs_named(hub_address, f"restart {project.name}")))
    (run,) = runs_named(hub_address, f"restart {project.name}")
    wait_for_state(hub_address, run["id"], "COMPLETED")
    project.moorage("down", "--volumes", "--release-ports")


@pytest.mark.exhaustive
def test_a_dead_run_becomes_crashed_and_is_swept_up(
    own: OwnHub,
    project: Project,
    tiny_image: str,
    machine_state: MachineState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worker and flow killed at once: nobody is left to tell Prefect. Its heartbeats stop; a minute is enough here."""
    address = address_in(own.start())
    monkeypatch.setattr(automations, "_BEAT_MISSED_S", 40)
    automations.ensure_own(address)
    project.compose(
        WEB.format(image=tiny_image, command="sleep 3600").replace(
            "init: true", "init: true, x-moorage: {ready: {exec: 'false', timeout: 200s}}"
        )
    )
    run = create_run(address, "up", path=str(project.path))
    wait_for(lambda: bool(machine_state.now()["containers"]))
    worker = own.status()["worker"]["pid"]
    below = _children(worker)
    kill_9(worker, *below)
    try:
        wait_for(lambda: state_of(address, run)["type"] == "CRASHED")
        assert "no heartbeat" in state_of(address, run)["message"]
    finally:
        own.start()
    wait_for(lambda: not machine_state.now()["containers"])
    machine_state.assert_same()


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(one) for one in found.split()]
