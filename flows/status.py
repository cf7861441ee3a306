"""`status`: look at a stack, or at all of them, and say how they are."""

from __future__ import annotations

from typing import Any

from prefect import flow

from moorage.work.status import status as look
from moorage.world import open_world
from tasks import parameters
from tasks.artifacts import publish


@flow(name="status", persist_result=False)
async def status(stack: parameters.SomeStack = None) -> list[dict[str, Any]]:
    """Look at a stack and publish the table of its services.

    Args:
        stack: Name of the stack. Empty: all stacks on record.
    """
    world = open_world()
    names = [stack] if stack else [record.name for record in world.store.stacks()]
    found = [await look(world, name) for name in names]
    for one in found:
        await publish(one)
    return [one.model_dump(mode="json") for one in found]
