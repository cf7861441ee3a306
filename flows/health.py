"""`health`: run every service's check now, find drift, and repair it if requested; fails if something is not well."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.states import Failed

from moorage.model.request import HealRequest
from moorage.work.operations.heal import heal as bring_back
from moorage.work.queries.health import health as look
from moorage.work.runs.context import Context
from tasks import parameters
from tasks.drift_events import tell
from tasks.driver import carried_out


@flow(name="health", flow_run_name="health {stack}", persist_result=False)
async def health(
    stack: parameters.StackName, heal: Annotated[bool, parameters.switch("Mend")] = False
) -> dict[str, Any] | State[Any]:
    """Run every service's check now, and compare what is running with the current generation.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        heal: Repair drift: start services that are down, re-create containers that differ from the generation.
    """
    found = await carried_out(lambda context: _health(context, stack, heal))
    if isinstance(found, dict) and not found["well"]:
        return Failed(message=f"{stack} is not well: {found['said']}")
    return found


async def _health(context: Context, stack: str, heal: bool) -> dict[str, Any]:
    asked = HealRequest(stack=stack, insist=True)
    found = await (bring_back(context, asked) if heal else look(context.world, stack))
    said = tell(found)
    return {**found.model_dump(mode="json"), "well": found.well, "said": said, "flow_run_id": context.flow_run_id}
