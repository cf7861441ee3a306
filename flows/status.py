"""`status`: look at a stack, or at all of them, tell what has drifted, and mend it where that is wanted."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.interfaces import World
from moorage.work.operations.heal import heal as bring_back
from moorage.work.operations.heal import wants_healing
from moorage.work.queries.health import health
from moorage.work.queries.status import status as look
from moorage.work.threads import in_thread
from tasks import parameters
from tasks.artifacts import publish
from tasks.cancelling import cancellable
from tasks.drift_events import tell
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(
    name="status", flow_run_name=lambda: f"status {flow_run.parameters.get('stack') or 'of all'}", persist_result=False
)
async def status(
    stack: parameters.SomeStack = "", heal: Annotated[bool | None, parameters.switch("Mend")] = None
) -> list[dict[str, Any]] | State[Any]:
    """Look at a stack, publish the table of its services, and tell what is not as its generation has it.

    Args:
        stack: Name of the stack. Empty: all stacks on record.
        heal: Mend what has drifted. Empty: where the definition says `x-moorage.heal: true`.
    """
    return await cancellable(_status(stack, heal))


async def _status(stack: str | None, heal: bool | None) -> list[dict[str, Any]]:
    world = logging_world()
    names = [stack] if stack else [record.name for record in await in_thread(world.store.stacks)]
    return [await _one(world, name, heal) for name in names]


async def _one(world: World, stack: str, heal: bool | None) -> dict[str, Any]:
    wanted = await in_thread(lambda: wants_healing(world, stack)) if heal is None else heal
    if wanted:
        drifted = await bring_back(world, stack, as_task_runs, str(flow_run.id))
    else:
        drifted = await health(world, stack)
    tell(drifted)
    found = await look(world, stack)
    await publish(found)
    facts = drifted.model_dump(mode="json", include={"drift", "healed", "treatments"})
    return {**found.model_dump(mode="json"), **facts}
