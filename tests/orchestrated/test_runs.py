"""Runs that are handed over to the worker, by the command and over REST: waited for, listed, cancelled, side by side."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployments
from tests.orchestrated.conftest import create_run, wait_for, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.address import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(300)]

WEB = "services: {{web: {{image: '{image}', init: true, command: {command}, x-moorage: {{ready: {ready}}}}}}}"


def compose(project: Project, image: str, command: str = "sleep 60", ready: str = "{exec: 'true'}") -> None:
    project.compose(WEB.format(image=image, command=command, ready=ready))


def run_of(address: HubAddress, flow_run: str) -> dict[str, Any]:
    found: dict[str, Any] = api.call(address, "GET", f"/flow_runs/{flow_run}")
    return found


def test_up_detached_waited_for_and_listed(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    compose(project, tiny_image)
    made = project.moorage("up", "--detach", "--json").json
    assert made["name"] == f"up {project.name}"
    assert made["flow_run_url"].startswith(f"{hub_address.ui_url}/runs/flow-run/{made['flow_run_id']}")
    waited = project.moorage("wait", made["flow_run_id"], "--json").json
    assert waited["type"] == "COMPLETED"
    assert project.moorage("status", "--json").json["state"] == "running"
    listed = {one["id"]: one for one in project.moorage("runs", project.name, "--json").json}
    assert listed[made["flow_run_id"]]["progress"] == 100
    assert listed[made["flow_run_id"]]["duration_s"] > 0
    assert made["flow_run_id"][:12] in project.moorage("runs", "-n", "500").stdout
    again = project.moorage("cancel", made["flow_run_id"], exit_code=2)
    assert "has ended already" in again.stderr
    compose(project, tiny_image, command="[sh, -c, 'exit 3']", ready="{tcp: 80}")
    failing = project.moorage("up", "-d", "--json").json["flow_run_id"]
    failed = project.moorage("wait", failing, exit_code=5)
    assert "Failed" in failed.stdout
    assert "exit code 3" in failed.stdout
    project.moorage("down", "--volumes", "--release-ports")


def test_cancel_undoes(hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState) -> None:
    compose(project, tiny_image, ready="{exec: 'false', timeout: 90s}")
    made = project.moorage("up", "--detach", "--json").json["flow_run_id"]
    wait_for(lambda: bool(machine_state.now()["containers"]), timeout_s=60)
    cancelled = project.moorage("cancel", made[:13], "--json").json
    assert cancelled["type"] == "CANCELLED"
    machine_state.assert_same()
    assert project.moorage("wait", made, exit_code=130).stdout.startswith(f"up {project.name}: Cancelled")


def test_a_run_that_nobody_knows(hub_address: HubAddress, project: Project) -> None:
    for unknown in ("ffffffff", "0d4d5337-1305-4fe2-8dfa-164f08870977"):
        assert "`moorage runs`" in project.moorage("cancel", unknown, exit_code=2).stderr
    assert "moorage runs" in project.moorage("wait", "0d4d5337-1305-4fe2-8dfa-164f08870977", exit_code=2).stderr


def test_two_stacks_at_once_and_two_runs_of_one_in_sequence(
    hub_address: HubAddress, projects: tuple[Project, Project], tiny_image: str, machine_state: MachineState
) -> None:
    for project in projects:
        compose(
            project,
            tiny_image,
            ready="{exec: [sh, -c, 'sleep 0.2; test $(cut -d. -f1 /proc/uptime) -gt 0'], timeout: 60s}",
        )
    first, second = projects
    runs = [create_run(hub_address, "up", path=str(one.path)) for one in (first, second)]
    twice = [create_run(hub_address, flow, stack=first.name) for flow in ("restart", "stop")]
    for run in runs:
        wait_for_state(hub_address, run, "COMPLETED", timeout_s=150)
    found = [run_of(hub_address, run) for run in runs]
    assert max(one["start_time"] for one in found) < min(one["end_time"] for one in found), "side by side"
    for run in twice:  # they may have come before there was anything to restart: then they say so
        wait_for_state(hub_address, run, "COMPLETED", "FAILED", timeout_s=150)
    both = [create_run(hub_address, flow, stack=second.name) for flow in ("restart", "down")]
    for run in both:
        wait_for_state(hub_address, run, "COMPLETED", "FAILED", timeout_s=150)
    spans = sorted(_held(hub_address, run) for run in both)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans)), spans
    for project in projects:
        project.moorage("down", "--volumes", "--release-ports")


def _held(address: HubAddress, flow_run: str) -> tuple[str, str]:
    """When the first task of a run began and the last ended: what it did with the stack's lock in its hands."""
    tasks = api.call(address, "POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    times = [(one["start_time"], one["end_time"]) for one in tasks if one["start_time"] and one["end_time"]]
    if not times:
        now = run_of(address, flow_run)["end_time"]
        return now, now
    return min(begin for begin, _ in times), max(end for _, end in times)


def test_a_schedule_fires(hub_address: HubAddress) -> None:
    status = deployments.found_on(hub_address)["status"]
    body = [{"schedule": {"interval": 2}, "active": True, "slug": "often"}]
    made = api.call(hub_address, "POST", f"/deployments/{status}/schedules", body)
    begun = time.time()

    def fired() -> list[dict[str, Any]]:
        wanted = {
            "deployments": {"id": {"any_": [status]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}, "tags": {"all_": ["auto-scheduled"]}},
        }
        found: list[dict[str, Any]] = api.call(hub_address, "POST", "/flow_runs/filter", wanted)
        return found

    try:
        wait_for(lambda: bool(fired()), timeout_s=90)
    finally:
        for one in made:
            api.call(hub_address, "DELETE", f"/deployments/{status}/schedules/{one['id']}")
    assert time.time() - begun < 90
