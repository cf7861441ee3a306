"""All stacks of this home, whatever is wrong with some of them."""

from __future__ import annotations

import asyncio

from moorage.errors import EngineError, EngineUnavailableError, said
from moorage.interfaces import World
from moorage.model.state import Observed, StackRecord, StackState, StackStatus
from moorage.work.queries.status import status
from moorage.work.threads import in_thread

UNKNOWN = "unknown"
"""In place of a state, where it cannot be said."""


async def states(world: World) -> tuple[tuple[StackRecord, ...], dict[str, StackState | str], dict[str, str]]:
    """Records that can be read; by name of every stack on record its state, and what is wrong where it is UNKNOWN.

    Raises EngineUnavailableError, HomeError: nothing can be said of any.
    """
    records = await in_thread(world.store.stacks)
    # A stack's own record comes first among what of it cannot be read.
    unreadable = {one.stack: one.said for one in reversed(await in_thread(world.store.unreadable))}
    names = [record.name for record in records]
    lost = sorted(await in_thread(world.store.names) - {*names})
    seen = await in_thread(lambda: world.engine.observe_each(names)) if names else {}
    found = await asyncio.gather(*(_status(world, name, seen[name]) for name in names), return_exceptions=True)
    told: dict[str, StackState | str] = dict.fromkeys(lost, UNKNOWN)
    wrong = {name: unreadable.get(name, "its record cannot be read") for name in lost}
    for name, one in zip(names, found, strict=True):
        if isinstance(one, EngineUnavailableError) or (
            isinstance(one, BaseException) and not isinstance(one, Exception)
        ):
            raise one
        if isinstance(one, BaseException):
            told[name], wrong[name] = UNKNOWN, said(one)
        else:
            told[name] = one.state
    return records, told, wrong


async def _status(world: World, stack: str, seen: Observed | EngineError) -> StackStatus:
    if isinstance(seen, EngineError):
        raise seen
    return await status(world, stack, ask=False, observed=seen)
