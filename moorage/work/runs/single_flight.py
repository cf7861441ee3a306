"""Single flight: of many simultaneous `up`s of one stack, one does the work; the others have nothing left to do.

It saves the others Prefect, whose import alone takes more than their look; correctness is the stack's lock's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from moorage.errors import BusyError
from moorage.interfaces import Lock, World
from moorage.model.state import StackStatus
from moorage.model.step import Operation
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import Resolved, resolve
from moorage.work.queries.plan import idle_as_planned, plan_up
from moorage.work.runs import images

T = TypeVar("T")

Loop = Callable[[Callable[[], Coroutine[Any, Any, T]]], T]
"""Runs async work to its end."""


@dataclass(frozen=True)
class Turn:
    """Our turn: what was read for it, and what was found."""

    resolved: Resolved
    idle: StackStatus | None
    """The status of the stack, if there is nothing to do. None: it is ours to do."""


@contextmanager
def single_flight(world: World, request: UpRequest, say: Callable[[str], None], run: Loop[Any]) -> Iterator[Turn]:
    """Wait for our turn, which lasts as long as the block. The definition is read once, before the wait.

    `say` is told once for whom we wait. Raises BusyError when the stack itself is held for longer than the setting;
    BackendUnavailableError, UnsupportedByBackendError: the builder asked for cannot do its part of it.
    """
    resolved = resolve(world, request)
    idle = run(lambda: _look(world, resolved))
    if idle:
        yield Turn(resolved, idle)
        return
    # No stack's name has a dot.
    lock = world.lock(f"{resolved.name}.up")
    try:
        if _waited(world, lock, resolved.name, say):
            idle = run(lambda: _look(world, resolved))
        if idle:  # the others need not wait until this has been shown
            lock.release()
        yield Turn(resolved, idle)
    finally:
        lock.release()


async def _look(world: World, resolved: Resolved) -> StackStatus | None:
    planned = await plan_up(world, resolved)
    await images.require_builder(world, planned)
    return await idle_as_planned(world, planned)


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
