"""`health`: run every service's check now, find drift, and repair it if requested; fails if something is not well."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Failed

from moorage.work.operations.heal import heal as bring_back
from moorage.work.queries.health import health as look
from tasks import parameters
from tasks.cancelling import cancellable
from tasks.drift_events import tell
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(name="health", flow_run_name="health {stack}", persist_result=False)
async def health(
    stack: parameters.StackName, heal: Annotated[bool, parameters.switch("Mend")] = False
) -> dict[str, Any] | State[Any]:
    """Run every service's check now, and compare what is running with the current generation.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        heal: Repair drift: start services that are down, re-create containers that differ from the generation.
    """
    found = await cancellable(_health(stack, heal))
    if isinstance(found, dict) and not found["well"]:
        return Failed(message=f"{stack} is not well: {found['said']}")
    return found


async def _health(stack: str, heal: bool) -> dict[str, Any]:
    world = logging_world()
    found = await (
        bring_back(world, stack, as_task_runs, str(flow_run.id), insist=True) if heal else look(world, stack)
    )
    said = tell(found)
    return {**found.model_dump(mode="json"), "well": found.well, "said": said, "flow_run_id": str(flow_run.id)}
