"""`status`: check one stack or all stacks, report drift, and repair it if that is wanted."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.model.request import HealRequest
from moorage.work.operations.heal import heal as bring_back
from moorage.work.operations.heal import wants_healing
from moorage.work.queries.health import health
from moorage.work.queries.status import status as look
from moorage.work.runs.context import Context
from moorage.work.threads import in_thread
from tasks import parameters
from tasks.artifacts import publish
from tasks.drift_events import tell
from tasks.driver import carried_out


@flow(
    name="status", flow_run_name=lambda: f"status {flow_run.parameters.get('stack') or 'of all'}", persist_result=False
)
async def status(
    stack: parameters.SomeStack = "", heal: Annotated[bool | None, parameters.switch("Mend")] = None
) -> list[dict[str, Any]] | State[Any]:
    """Check a stack, publish the table of its services, and report how it differs from its generation.

    Args:
        stack: Name of the stack. Empty: all stacks on record.
        heal: Repair drift. Empty: if the definition says `x-moorage.heal: true`.
    """
    return await carried_out(lambda context: _status(context, stack, heal))


async def _status(context: Context, stack: str, heal: bool | None) -> list[dict[str, Any]]:
    records = await in_thread(context.world.store.stacks)
    names = [stack] if stack else [record.name for record in records]
    return [await _one(context, name, heal) for name in names]


async def _one(context: Context, stack: str, heal: bool | None) -> dict[str, Any]:
    world = context.world
    wanted = await in_thread(lambda: wants_healing(world, stack)) if heal is None else heal
    drifted = await (bring_back(context, HealRequest(stack=stack)) if wanted else health(world, stack))
    tell(drifted)
    found = await look(world, stack)
    await publish(found)
    facts = drifted.model_dump(mode="json", include={"drift", "healed", "treatments"})
    return {**found.model_dump(mode="json"), **facts}
