"""Single flight: of many simultaneous `up`s of one stack, one does the work; the others have nothing left to do.

It saves the others Prefect, whose import alone takes more than their look; correctness is the stack's lock's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moorage.errors import BusyError
from moorage.interfaces import Lock, World
from moorage.model.state import StackStatus
from moorage.model.step import Operation
from moorage.work.definitions.request import UpRequest
from moorage.work.queries.plan import idle_as_planned, plan_up
from moorage.work.runs import images


@contextmanager
def single_flight(world: World, request: UpRequest, say: Callable[[str], None]) -> Iterator[StackStatus | None]:
    """Wait for our turn. Gives the status of the stack if there is nothing to do; None: it is ours to do, in here.

    `say` is told once for whom we wait. Raises BusyError when the stack itself is held for longer than the setting;
    BackendUnavailableError, UnsupportedByBackendError: the builder asked for cannot do its part of it.
    """
    idle, name = _look(world, request)
    if idle:
        yield idle
        return
    # No stack's name has a dot.
    lock = world.lock(f"{name}.up")
    try:
        if _waited(world, lock, name, say):
            idle, _ = _look(world, request)
        if idle:  # the others need not wait until this has been shown
            lock.release()
        yield idle
    finally:
        lock.release()


def _look(world: World, request: UpRequest) -> tuple[StackStatus | None, str]:
    async def look() -> tuple[StackStatus | None, str]:
        planned = await plan_up(world, request)
        await images.require_builder(world, request, planned[0], planned[2])
        return await idle_as_planned(world, request, planned), planned[0].definition.name

    return asyncio.run(look())


def _waited(world: World, lock: Lock, name: str, say: Callable[[str], None]) -> bool:
    """Take the turn. False: it was ours at once. An `up` that goes on for too long is overtaken, up to its lock."""
    try:
        lock.acquire(Operation.UP, 0)
    except BusyError as error:
        pid, since = error.fields.get("pid"), error.fields.get("since")
        say(f"waiting: `up` of {name} is running" + (f" (pid {pid}, since {since})" if pid else ""))
    else:
        return False
    try:
        lock.acquire(Operation.UP, world.settings.lock_timeout_s)
    except BusyError:
        own = world.lock(name)
        own.acquire(Operation.UP, 0)
        own.release()
    return True
