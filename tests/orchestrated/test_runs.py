"""Runs that are handed over to the worker, by the command and over REST: waited for, listed, cancelled, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployed
from tests.orchestrated.conftest import create_run, wait_for, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]

WEB = "services: {{web: {{image: '{image}', init: true, command: {command}, x-moorage: {{ready: {ready}}}}}}}"


def compose(project: Project, image: str, command: str = "sleep 3600", ready: str = "{exec: 'true'}") -> None:
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
    assert "has already ended" in again.stderr
    compose(project, tiny_image, command="[sh, -c, 'exit 3']", ready="{tcp: 80}")
    failing = project.moorage("up", "-d", "--json").json["flow_run_id"]
    failed = project.moorage("wait", failing, exit_code=5)
    assert "Failed" in failed.stdout
    assert "exit code 3" in failed.stdout
    project.moorage("down", "--volumes", "--release-ports")


def test_cancel_undoes(hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState) -> None:
    compose(project, tiny_image, ready="{exec: 'false', timeout: 90s}")
    made = project.moorage("up", "--detach", "--json").json["flow_run_id"]
    wait_for(lambda: bool(machine_state.now()["containers"]))
    cancelled = project.moorage("cancel", made[:13], "--json").json
    assert cancelled["type"] == "CANCELLED"
    machine_state.assert_same()
    assert project.moorage("wait", made, exit_code=130).stdout.startswith(f"up {project.name}: Cancelled")


def test_a_run_that_nobody_knows(hub_address: HubAddress, project: Project) -> None:
    for unknown in ("ffffffff", "0d4d5337-1305-4fe2-8dfa-164f08870977"):
        assert "`moorage runs`" in project.moorage("cancel", unknown, exit_code=2).stderr
    assert "moorage runs" in project.moorage("wait", "0d4d5337-1305-4fe2-8dfa-164f08870977", exit_code=2).stderr


GATED = """
    services:
      web:
        image: '{image}'
        init: true
        command: sleep 3600
        volumes: ['./gate:/gate']
        x-moorage: {{ready: {{exec: 'test -e /gate/open', timeout: 200s}}}}
"""


def test_two_stacks_at_once_and_two_runs_of_one_in_sequence(
    hub_address: HubAddress, projects: tuple[Project, Project], tiny_image: str, machine_state: MachineState
) -> None:
    for project in projects:
        (project.path / "gate").mkdir()
        project.compose(GATED.format(image=tiny_image))
    runs = [create_run(hub_address, "up", path=str(one.path)) for one in projects]
    wait_for(lambda: len(machine_state.now()["containers"]) == 2)
    assert {run_of(hub_address, run)["state_type"] for run in runs} == {"RUNNING"}, "neither waits for the other"
    name = projects[0].name
    cut, down = (create_run(hub_address, flow, stack=name) for flow in ("restart", "down"))
    for run in (cut, down):
        wait_for(lambda: "is held by `up`" in doing(hub_address, run))  # noqa: B023 - called here
        assert f"run {runs[0][:8]}" in doing(hub_address, run)
    status = create_run(hub_address, "status", stack=name, heal=True)
    wait_for_state(hub_address, status, "COMPLETED")
    assert run_of(hub_address, down)["state_type"] == "RUNNING", "who only looks does not wait"
    projects[0].moorage("cancel", cut)
    wait_for_state(hub_address, cut, "CANCELLED")
    for project in projects:
        (project.path / "gate" / "open").touch()
    for run in (*runs, down):
        wait_for_state(hub_address, run, "COMPLETED")
    assert _held(hub_address, runs[0])[1] <= _held(hub_address, down)[0], "one after the other"
    for project in projects:
        project.moorage("down", "--volumes", "--release-ports")


def doing(address: HubAddress, flow_run: str) -> str:
    """What the progress of a run says."""
    wanted = {"flow_run_id": {"any_": [flow_run]}, "type": {"any_": ["progress"]}}
    found = api.call(address, "POST", "/artifacts/filter", {"artifacts": wanted})
    return str(found[0]["description"]) if found else ""


def _held(address: HubAddress, flow_run: str) -> tuple[str, str]:
    """When the first task of a run began and the last ended: what it did with the stack's lock in its hands."""
    tasks = api.call(address, "POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    times = [(one["start_time"], one["end_time"]) for one in tasks if one["start_time"] and one["end_time"]]
    return min(begin for begin, _ in times), max(end for _, end in times)


def test_a_schedule_fires(hub_address: HubAddress) -> None:
    status = deployed.found_on(hub_address)["status"]
    body = [{"schedule": {"interval": 15}, "active": True, "slug": "often"}]
    made = api.call(hub_address, "POST", f"/deployments/{status}/schedules", body)

    def fired() -> list[dict[str, Any]]:
        wanted = {
            "deployments": {"id": {"any_": [status]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}, "tags": {"all_": ["auto-scheduled"]}},
        }
        found: list[dict[str, Any]] = api.call(hub_address, "POST", "/flow_runs/filter", wanted)
        return found

    try:
        wait_for(lambda: bool(fired()))
    finally:
        for one in made:
            api.call(hub_address, "DELETE", f"/deployments/{status}/schedules/{one['id']}")


def test_approval_is_asked_for_before_anything_is_done(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    compose(project, tiny_image)
    text = (project.path / "compose.yaml").read_text()
    (project.path / "compose.yaml").write_text(f"{text}\nx-moorage: {{approve: true}}\n")
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("up", {"path": str(project.path)}, "start web"),
        ("down", {"stack": project.name, "volumes": True, "release_ports": True}, f"{project.name}-web-1"),
    ]
    for flow, parameters, what in asked:
        before = machine_state.now()
        approved, refused = (create_run(hub_address, flow, **parameters) for _ in range(2))
        for run in (approved, refused):
            wait_for_state(hub_address, run, "PAUSED")
        assert what in plan_shown(hub_address, approved).replace("\\", "")
        api.call(hub_address, "POST", f"/flow_runs/{refused}/set_state", {"state": {"type": "CANCELLING"}})
        wait_for_state(hub_address, refused, "CANCELLED")
        assert machine_state.now() == before
        api.call(hub_address, "POST", f"/flow_runs/{approved}/resume", {})
        wait_for_state(hub_address, approved, "COMPLETED")
    machine_state.assert_same()
    assert project.name not in {one["name"] for one in project.moorage("ls", "--json").json}


def plan_shown(address: HubAddress, flow_run: str) -> str:
    """The Markdown of what a run would do."""
    found = api.call(address, "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run]}}})
    return next(str(one["data"]) for one in found if one["key"].endswith("-plan"))


def test_build_makes_images_and_starts_nothing(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    project.write("Dockerfile", f"FROM {tiny_image}\nRUN echo built > /built\n")
    project.compose("services: {web: {build: ., init: true, command: cat /built}}")
    build = create_run(hub_address, "build", path=str(project.path))
    wait_for_state(hub_address, build, "COMPLETED")
    tasks = api.call(hub_address, "POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [build]}}})
    assert [one["name"] for one in tasks] == ["build web"]
    machine_state.assert_same()
    (image,) = machine_state.client.api.images(filters={"reference": f"*{project.name}*"})
    assert machine_state.client.containers.run(image["Id"], "cat /built", remove=True) == b"built\n"
    steps = project.moorage("plan", "--json").json["steps"]
    assert "build" not in {step["kind"] for step in steps}, "the next start does not wait for it"
