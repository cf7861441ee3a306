"""The frame around every run: lock, recovery of what did not finish, record, undo.

lock → recover → open the record → (the run's own steps) → close it → unlock
└ on any failure: report, undo
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from moorage.errors import (
    BusyError,
    EngineUnavailableError,
    InterruptedRunError,
    MoorageError,
    RunError,
    UndoIncompleteError,
)
from moorage.interfaces import Lock, World
from moorage.model.event import Action
from moorage.model.state import RunRecord
from moorage.model.step import Operation
from moorage.work import report
from moorage.work.run import Run
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly, undo

T = TypeVar("T")
Recover = Callable[[World, RunRecord], Awaitable[None]]

_LOCK_POLL_S = 0.1
_OWN_CODES = (BusyError, EngineUnavailableError, RunError, UndoIncompleteError)


@asynccontextmanager
async def locked(run: Run, recover: Recover) -> AsyncIterator[None]:
    """Hold the stack's lock; a run that did not finish is recovered first. Raises BusyError."""
    world = run.world
    lock = world.lock(run.stack)
    await _acquire(run, lock)
    try:
        for record in await in_thread(lambda: world.store.unfinished_runs(run.stack)):
            run.tell(
                Action.NOTICE, message=f"recovering: {record.operation} of {record.started_at:%H:%M:%S} did not finish"
            )
            await uncancelled(recover(world, record))
        yield
    finally:
        lock.release()


async def _acquire(run: Run, lock: Lock) -> None:
    """Take the lock; asked for again and again, so that a cancel ends the wait at once."""
    deadline = run.world.clock.monotonic() + run.world.settings.lock_timeout_s
    said = False
    while True:
        try:
            await in_thread(lambda: lock.acquire(run.operation, 0))
        except BusyError as error:
            if run.world.clock.monotonic() >= deadline:
                raise
            if not said:
                run.tell(Action.NOTICE, message=f"waiting: {error}")
            said = True
        else:
            return
        await asyncio.sleep(_LOCK_POLL_S)


@asynccontextmanager
async def undone_on_failure(run: Run, act_of: ActOf = directly) -> AsyncIterator[None]:
    """Undo what the run did if its body fails, is cancelled or times out; then say so with the right error."""
    try:
        yield
    except BaseException as error:
        raise await uncancelled(_fail(run, error, act_of)) from error
    await in_thread(lambda: run.world.store.close_run(run.id, "committed", run.world.clock.now()))


async def _fail(run: Run, error: BaseException, act_of: ActOf) -> BaseException:
    """Report and undo; gives the error to raise."""
    path = await in_thread(lambda: report.write(run, error))
    if run.wish and run.wish.keep_failed and not isinstance(error, asyncio.CancelledError):
        return await _keep(run, error, path)
    run.tell(Action.NOTICE, message="undoing")
    left = await _undo(run, act_of)
    outcome = "undo incomplete" if left else "undone"
    await in_thread(lambda: run.world.store.close_run(run.id, outcome, run.world.clock.now()))
    run.tell(Action.UNDONE, message=undone_line(run.record) if not left else f"left: {'; '.join(left)}")
    if left:
        return UndoIncompleteError(
            f"{run.stack}: {_said(error)}; the undo is incomplete: {'; '.join(left)}",
            hint=f"`moorage down --name {run.stack}` removes what is left.",
            stack=run.stack,
            left=left,
            command=f"moorage down --name {run.stack}",
            report=str(path),
        )
    return _verdict(run, error, str(path))


async def _undo(run: Run, act_of: ActOf) -> list[str]:
    if run.record is None:
        return []
    try:
        return await undo(run.world, run.record, act_of)
    except MoorageError as error:
        return [str(error)]


async def _keep(run: Run, error: BaseException, path: Any) -> BaseException:
    """`--keep-failed`: nothing is undone; what the run leased and created stays until `down`."""
    await in_thread(lambda: run.world.store.commit_run(run.id))
    await in_thread(lambda: run.world.store.close_run(run.id, "kept", run.world.clock.now()))
    if isinstance(error, MoorageError):
        error.with_fields(undone=False, report=str(path))
        error.hint = f"It was left as it is for a look; `moorage down --name {run.stack}` removes it."
    return error


def _verdict(run: Run, error: BaseException, path: str) -> BaseException:
    """The error to raise after a complete undo."""
    facts: dict[str, Any] = {"stack": run.stack, "undone": True, "report": path}
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return InterruptedRunError(f"{run.stack}: interrupted; {undone_line(run.record)}", **facts)
    if isinstance(error, MoorageError) and (isinstance(error, _OWN_CODES) or error.exit_code in (2, 3)):
        return error.with_fields(**facts)
    fields = {**facts, **(error.fields if isinstance(error, MoorageError) else {})}
    hint = error.hint if isinstance(error, MoorageError) else "This looks like a mistake of Moorage: please report it."
    return RunError(f"{run.stack}: {_said(error)}", hint=hint, **fields)


def _said(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, MoorageError) else f"{type(error).__name__}: {error}"


def undone_line(record: RunRecord | None) -> str:
    """What the undo came to, in words."""
    if record and record.previous_generation and record.before.get("containers"):
        return f"undone: generation {record.previous_generation} is in place again"
    return "undone: nothing of this run is left"


async def recover(world: World, record: RunRecord) -> None:
    """Bring a run that did not finish to an end: an `up` is undone, the others are rolled forward by their next call.

    `down`, `stop`, `start` and `restart` look at what is there before each step, so that calling them again is enough.
    """
    outcome = "recovered"
    if record.operation in (Operation.UP, Operation.ROLLBACK):
        left = await undo(world, record)
        outcome = "undo incomplete" if left else "recovered"
    await in_thread(lambda: world.store.close_run(record.id, outcome, world.clock.now()))


async def uncancelled(work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Wait for `work` to its end, however often this is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    return task.result()
