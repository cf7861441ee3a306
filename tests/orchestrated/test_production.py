"""A stack for production: whatever way it is reached by, nothing is done to it before somebody has agreed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployed, worker
from moorage.hub.project import project_directory, whole_environment
from tests.orchestrated.conftest import create_run, python, run_of, state_of, wait_for, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(900)]

WEB = "services: {{web: {{image: '{image}', init: true, command: sleep 3600, environment: {{A: '{a}'}}}}}}"
SUBFLOW = """
import os
from prefect import flow

@flow
async def around(path):
    os.environ["MOORAGE_APPROVE_TIMEOUT_S"] = "2"
    from flows.up import up
    await up(path=path)
"""


def deployed_for_production(address: HubAddress, project: Project) -> str:
    """A deployment of our flow `up` that somebody has made for one stack; gives its id."""
    flow = api.call(address, "POST", "/flows/", {"name": "up"})
    body = {
        "name": f"{project.name}-production",
        "flow_id": flow["id"],
        "entrypoint": "flows/up.py:up",
        "work_pool_name": worker.pool_name(),
        "tags": ["production"],
        "parameters": {"path": str(project.path)},
    }
    return str(api.call(address, "POST", "/deployments/", body)["id"])


def run_again(address: HubAddress, deployment: str) -> str:
    made: dict[str, Any] = api.call(address, "POST", f"/deployments/{deployment}/create_flow_run", {})
    return str(made["id"])


def assert_nobody_agreed(done: subprocess.CompletedProcess[str]) -> None:
    """Told by the flow, or by the server, whose clock may be the quicker one."""
    said = done.stdout + done.stderr
    assert "not approved within 2 s; nothing was done" in said or "never resumed" in said, said


def test_there_is_no_way_round(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    project.compose(WEB.format(image=tiny_image, a=1))
    production = deployed_for_production(hub_address, project)
    begun = run_again(hub_address, production)
    wait_for_state(hub_address, begun, "PAUSED")
    machine_state.assert_same()
    api.call(hub_address, "POST", f"/flow_runs/{begun}/resume", {})
    wait_for_state(hub_address, begun, "COMPLETED")
    there = machine_state.now()
    project.compose(WEB.format(image=tiny_image, a=2))

    # job_variables, of a run and of the deployment: no process is started, and the state says why
    hacked = project.path / "hacked"
    variables = {"command": f"touch {hacked}", "env": {"MOORAGE_HOME": str(project.path)}}
    with_variables = create_run(hub_address, "up", variables, path=str(project.path))
    api.call(hub_address, "PATCH", f"/deployments/{production}", {"job_variables": variables})
    edited = run_again(hub_address, production)
    for run in (with_variables, edited):
        message = wait_for_state(hub_address, run, "CRASHED")["message"]
        assert "job_variables: command, env.MOORAGE_HOME: only the hub says" in message
    assert not hacked.exists()

    # the deployment again, but with its tag edited away; another deployment; the flow called by one of another flow
    api.call(hub_address, "PATCH", f"/deployments/{production}", {"tags": [], "job_variables": {}})
    untagged = run_again(hub_address, production)
    other = create_run(hub_address, "up", path=str(project.path))
    project.write("around.py", SUBFLOW)
    within = run_of(hub_address, project.path, "around.py:around", path=str(project.path))
    body = {"parameters": {"path": str(project.path)}, "empirical_policy": {"pause_keys": ["1"]}}
    up_of_ours = deployed.found_on(hub_address)["up"]
    paused_already = str(api.call(hub_address, "POST", f"/deployments/{up_of_ours}/create_flow_run", body)["id"])
    for run in (untagged, other, paused_already):
        wait_for_state(hub_address, run, "PAUSED")
        api.call(hub_address, "POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        wait_for_state(hub_address, run, "CANCELLED")
    wait_for(lambda: state_of(hub_address, within)["type"] in ("CANCELLED", "FAILED", "CRASHED"))

    # the flow called directly
    code = f"import asyncio; from flows.up import up; asyncio.run(up(path={str(project.path)!r}))"
    environment = {**whole_environment(hub_address), "MOORAGE_APPROVE_TIMEOUT_S": "2"}
    done = python(code, project_directory(), **environment)
    assert_nobody_agreed(done)
    assert machine_state.now() == there

    # the end of it, with consent
    down = create_run(hub_address, "down", stack=project.name, volumes=True, release_ports=True)
    wait_for_state(hub_address, down, "PAUSED")
    api.call(hub_address, "POST", f"/flow_runs/{down}/resume", {})
    wait_for_state(hub_address, down, "COMPLETED")
    api.call(hub_address, "DELETE", f"/deployments/{production}")
    machine_state.assert_same()


def test_a_run_called_by_one_for_production_is_for_production(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    project.compose(WEB.format(image=tiny_image, a=1))
    code = f"""
        import asyncio
        from prefect import flow, tags
        from prefect.context import TagsContext
        from flows.up import up

        @flow
        async def around():
            with TagsContext(current_tags=set()):  # the run of `up` has none of its own
                await up(path={str(project.path)!r})

        with tags("production"):
            asyncio.run(around())
    """
    environment = {**whole_environment(hub_address), "MOORAGE_APPROVE_TIMEOUT_S": "2"}
    done = python(code, project_directory(), **environment)
    assert_nobody_agreed(done)
    machine_state.assert_same()
