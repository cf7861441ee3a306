"""Whether a stack is one that nothing is done to before somebody has agreed."""

from __future__ import annotations

from moorage.errors import HomeError
from moorage.interfaces import World
from moorage.model.state import RunOutcome
from moorage.model.step import Operation
from moorage.work.definitions import generations


def wants_approval(world: World, stack: str) -> bool:
    """True: a deployment for production has been at it, or its definition or the source of its last start asks for it.

    Of the stack, not of the way by which it is reached: whoever comes next, by whatever way, finds it on record.
    """
    return is_for_production(world, stack) or _asked_for(world, stack)


def is_for_production(world: World, stack: str) -> bool:
    """True: a deployment that is tagged for production has started it, or done something else to it."""
    record = world.store.stack(stack)
    return record is not None and record.production


def _asked_for(world: World, stack: str) -> bool:
    """True: what is there says `x-moorage.approve: true`, or the source that it came from did."""
    generation = generations.known(world, stack)
    if generation and (generation.config.get("x-moorage") or {}).get("approve") is True:
        return True
    starts = (one for one in world.store.run_heads(stack) if one.operation == Operation.UP)
    committed = next((one for one in starts if one.outcome == RunOutcome.COMMITTED), None)
    try:
        made_it = world.store.run(committed.id) if committed else None
    except HomeError:  # its record cannot be read: it may have asked
        return True
    if made_it is None:
        return False
    # Versions before 0.2 wrote it down as `wish`.
    asked = made_it.arguments.get("request") or made_it.arguments.get("wish") or {}
    return bool(asked.get("approve"))
