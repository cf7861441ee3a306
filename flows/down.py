"""`down`: remove a stack's containers and networks; volumes and leases stay unless requested."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.work.operations.down import DownOptions
from moorage.work.operations.down import down as take_down
from tasks import parameters
from tasks.approval import approval
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(name="down", flow_run_name="down {stack}", persist_result=False)
async def down(
    stack: parameters.StackName,
    volumes: Annotated[bool, parameters.switch("Remove volumes")] = False,
    release_ports: Annotated[bool, parameters.switch("Release ports")] = False,
    timeout_s: parameters.Grace = None,
) -> dict[str, str] | State[Any]:
    """Remove a stack's containers and networks.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        volumes: Remove its volumes too: their data is lost.
        release_ports: Release its host ports; otherwise they are kept for its next start.
        timeout_s: Grace period for stopping a service, in seconds. Empty: as in the definition.
    """
    ending = DownOptions(volumes=volumes, release_ports=release_ports, grace_s=timeout_s)
    return await cancellable(_down(stack, ending))


async def _down(stack: str, ending: DownOptions) -> dict[str, str]:
    run = await take_down(logging_world(), stack, ending, as_task_runs, str(flow_run.id), approval())
    return {"stack": stack, "state": "absent", "flow_run_id": str(run.flow_run_id)}
