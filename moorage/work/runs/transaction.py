"""The transaction around every run: lock, recovery of unfinished runs, record, undo.

lock → recover → open the record → (the run's own steps) → close it → unlock
└ on any failure: report, undo
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from moorage.errors import (
    BusyError,
    EngineUnavailableError,
    HomeError,
    InterruptedRunError,
    MoorageError,
    PortError,
    PortTakenError,
    RunError,
    UndoIncompleteError,
    said,
)
from moorage.interfaces import Lock, World
from moorage.model.event import Action
from moorage.model.state import RunOutcome, RunRecord, Span, SpanOutcome
from moorage.model.step import StepKind
from moorage.work.queries import engines, ports
from moorage.work.runs import failure_report
from moorage.work.runs.commit import keep
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import BUG, named
from moorage.work.runs.run import Run
from moorage.work.runs.undo import undo
from moorage.work.runs.wait import IN_THE_REPORT
from moorage.work.threads import in_thread, to_the_end, uncancelled

T = TypeVar("T")
Recover = Callable[[Context, RunRecord], Awaitable[list[str]]]

_LOCK_POLL_S = 0.1
_ENGINE_BACK_S = 30.0
"""How long an undo waits for an engine that is being restarted."""
_ENGINE_POLL_S = 0.5
_OWN_CODES = (BusyError, EngineUnavailableError, RunError, UndoIncompleteError)


@asynccontextmanager
async def locked(run: Run, recover: Recover) -> AsyncIterator[None]:
    """Hold the stack's lock; a run that did not finish is recovered first. Raises BusyError."""
    world = run.world
    lock = world.lock(run.stack)
    try:
        await _acquire(run, lock)
        await in_thread(lambda: engines.refuse(world, run.stack))
        for record in await in_thread(lambda: world.store.unfinished_runs(run.stack)):
            message = f"recovering: {record.operation} of {record.started_at:%H:%M:%S} did not finish"
            run.tell(Action.NOTICE, message=message, recovering=record.operation)
            await to_the_end(recover(run.context, record))
        await in_thread(partial(_close_unreadable, run))
        run.began = world.clock.monotonic()
        yield
    except MoorageError:
        raise
    except Exception as error:
        raise named(run, error) from error
    finally:
        await uncancelled(in_thread(partial(_release, run, lock)))


def _close_unreadable(run: Run) -> None:
    """A run whose record cannot be read is not carried on by anybody: told once, and closed. Its row stays as it is."""
    store = run.world.store
    for one in store.unreadable(run.stack):
        if one.run is not None:
            run.tell(Action.NOTICE, message=f"the recovery is incomplete: {one.said}")
            store.close_run(one.run, RunOutcome.RECOVERY_INCOMPLETE, run.world.clock.now())


def _release(run: Run, lock: Lock) -> None:
    """What was done stays done: a lock that cannot be given back is told of. The kernel frees it with the process."""
    try:
        lock.release()
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not hide how the run ended
        run.tell(Action.NOTICE, message=f"the lock could not be given back: {said(error)}")


async def _acquire(run: Run, lock: Lock) -> None:
    """Take the lock; asked for again and again, so that a cancel ends the wait at once.

    For whom it waits is told, and again when that changes.
    """
    began = run.world.clock.monotonic()
    said: tuple[Any, ...] = ()
    while True:
        try:
            await in_thread(lambda: lock.acquire(run.operation, 0))
        except BusyError as error:
            if run.world.clock.monotonic() >= began + run.world.settings.lock_timeout_s:
                raise
            holder = tuple(error.fields.get(key) for key in ("operation", "pid", "since"))
            if holder != said and (holder[1] or not said):  # who has just taken it has not signed yet
                words = await in_thread(partial(_waiting_words, run, error))
                run.tell(Action.NOTICE, message=words, waiting=words)
                said = holder
        else:
            if said:
                waited_s = run.world.clock.monotonic() - began
                run.tell(Action.NOTICE, message=f"got the lock after {waited_s:.1f} s", waiting="")
            return
        await asyncio.sleep(_LOCK_POLL_S)


def _waiting_words(run: Run, error: BusyError) -> str:
    """`waiting: stack shop is held by …`, with the flow run where it is one: that can be cancelled."""
    with suppress(HomeError):
        for record in run.world.store.unfinished_runs(run.stack):
            if record.pid == error.fields.get("pid") and record.flow_run_id:
                return f"waiting: {error}, run {record.flow_run_id[:8]}"
    return f"waiting: {error}"


@asynccontextmanager
async def undone_on_failure(run: Run) -> AsyncIterator[None]:
    """Undo what the run did if its body fails or is cancelled; then say so with the right error.

    The body closes the run itself, by its commit.
    """
    try:
        yield
    except BaseException as error:
        raise await uncancelled(_fail(run, error)) from error


@asynccontextmanager
async def closed_at_end(run: Run) -> AsyncIterator[None]:
    """Close a run that is not undone when its body has ended, been interrupted, or come to a service's own failure.

    A port that somebody else has taken is such a failure: doing it again would come to the same.
    The body writes the run down first: a cancel that comes meanwhile must not leave it to be carried on.
    After any other failure, as after a crash, it stays open, and the next command continues it.
    """
    try:
        yield
    except asyncio.CancelledError:
        if run.record:
            await uncancelled(_close(run, RunOutcome.INTERRUPTED))
        raise InterruptedRunError(
            f"{run.stack}: interrupted",
            hint=f"`moorage {run.operation}` finishes it, `moorage up` brings everything back.",
            stack=run.stack,
            undone=False,
        ) from None
    except PortTakenError as error:
        told = await uncancelled(in_thread(partial(ports.taken, run.world, run.stack, error)))
        await uncancelled(_close_failed(run, told))
        raise told.with_fields(stack=run.stack, undone=False) from error
    except (RunError, PortError) as error:
        await uncancelled(_close_failed(run, error))
        raise
    await uncancelled(_close(run, RunOutcome.COMMITTED))


async def _close(run: Run, outcome: RunOutcome) -> None:
    await in_thread(partial(run.close, outcome))


async def _close_failed(run: Run, error: MoorageError) -> None:
    """Report, and close; what was done stays."""
    path = await in_thread(lambda: _report(run, error))
    await _close(run, RunOutcome.FAILED)
    error.with_fields(report=path)


async def _fail(run: Run, error: BaseException) -> BaseException:
    """Report and undo; gives the error to raise."""
    path = await in_thread(lambda: _report(run, error))
    with suppress(Exception):  # the undo comes first
        await in_thread(lambda: run.rewrite(spans=tuple(run.spans)))
    # Before anything was created there is nothing to look at.
    wanted = (
        run.request and run.request.keep_failed and run.generation and not isinstance(error, asyncio.CancelledError)
    )
    if wanted and await _kept(run):
        return _verdict_of_kept(run, error, path)
    run.tell(Action.NOTICE, message="undoing")
    left = await undo_and_close(run.context, run.record, RunOutcome.UNDONE) if run.record else []
    run.tell(Action.UNDONE, message=undone_line(run.record) if not left else f"left: {'; '.join(left)}")
    if not left:
        return _verdict(run, error, path)
    return UndoIncompleteError(
        run.hide(f"{run.stack}: {_said(error)}; the undo is incomplete: {'; '.join(left)}"),
        hint=f"`moorage sweep` tries again, `moorage down --name {run.stack}` removes what is left.",
        stack=run.stack,
        left=run.hide(left),
        command=f"moorage down --name {run.stack}",
        report=path,
    )


def _report(run: Run, error: BaseException) -> str | None:
    """Where the failure report is. None: it could not be written, which must not keep the undo from its work."""
    try:
        return str(failure_report.write(run, error))
    except Exception as problem:  # noqa: BLE001 - whatever it is, the undo comes first
        if isinstance(error, MoorageError) and error.hint == IN_THE_REPORT:
            error.hint = None
        run.tell(Action.NOTICE, message=f"no failure report could be written: {said(problem)}")
        return None


async def undo_and_close(context: Context, record: RunRecord, outcome: RunOutcome) -> list[str]:
    """Undo, and close the record if nothing is left; else it stays open, and the next command tries again."""
    world = context.world
    try:
        left = await _undo_patiently(context, record)
    except Exception as error:  # noqa: BLE001 - an undo that fails is told of, never a traceback instead of the run's error
        left = [said(error)]
    try:
        if left:
            unfinished = record.model_copy(update={"outcome": RunOutcome.UNDO_INCOMPLETE})
            await in_thread(lambda: world.store.update_run(unfinished))
        else:
            await in_thread(lambda: world.store.close_run(record.id, outcome, world.clock.now()))
    except Exception as error:  # noqa: BLE001 - the same
        left.append(f"the record of the run: {said(error)}")
    return left


async def _undo_patiently(context: Context, record: RunRecord) -> list[str]:
    """Undo; an engine that is being restarted gets the time for it. Raises EngineUnavailableError."""
    world = context.world
    deadline: float | None = None
    while True:
        try:
            return await undo(context, record)
        except EngineUnavailableError:
            deadline = deadline or world.clock.monotonic() + _ENGINE_BACK_S
            # Also after one that answers again: it may go on breaking off the very calls that an undo needs.
            while True:
                if world.clock.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_ENGINE_POLL_S)
                if await in_thread(lambda: _answers(world)):
                    break


def _answers(world: World) -> bool:
    try:
        world.engine.ping()
    except MoorageError:
        return False
    return True


async def _kept(run: Run) -> bool:
    """`--keep-failed`: nothing is undone; what the run leased and created stays until `down`, or the next `up`.

    False: that could not be written down, so it is undone after all.
    """
    try:
        await in_thread(lambda: keep(run))
        await _close(run, RunOutcome.KEPT)
    except Exception as error:  # noqa: BLE001 - whatever it is, the undo is the way out
        run.tell(Action.NOTICE, message=f"it cannot be kept: {said(error)}")
        return False
    return True


def _verdict_of_kept(run: Run, error: BaseException, path: str | None) -> BaseException:
    if not isinstance(error, Exception):
        return error
    if not isinstance(error, MoorageError):
        error = RunError(f"{run.stack}: {_said(error)}", stack=run.stack)
    error.with_fields(undone=False, report=path)
    before = run.record.previous_generation if run.record else None
    back = f", `moorage rollback --name {run.stack} --to {before}` goes back" if before else ""
    error.hint = f"It was left as it is for inspection; `moorage down --name {run.stack}` removes it{back}."
    return error


def _verdict(run: Run, error: BaseException, path: str | None) -> BaseException:
    """The error to raise after a complete undo."""
    facts: dict[str, Any] = {"stack": run.stack, "undone": True, "report": path}
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return InterruptedRunError(f"{run.stack}: interrupted; {undone_line(run.record)}", **facts)
    if isinstance(error, MoorageError) and (isinstance(error, _OWN_CODES) or error.exit_code in (2, 3)):
        return error.with_fields(**facts)
    fields = {**facts, **(error.fields if isinstance(error, MoorageError) else {})}
    hint = error.hint if isinstance(error, MoorageError) else BUG
    return RunError(f"{run.stack}: {run.hide(_said(error))}", hint=hint, **fields)


def _said(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return "interrupted"
    return said(error)


def undone_line(record: RunRecord | None) -> str:
    """What the undo came to, in words. Images stay: the next start would only have to make them again."""
    made = made_images(record) if record else ()
    but = f"the image{'s' if len(made) > 1 else ''} of {', '.join(made)}" if made else ""
    if record and record.previous_generation and record.before.get("containers"):
        stays = f"; {but} stay{'' if len(made) > 1 else 's'} for the next start" if made else ""
        return f"undone: generation {record.previous_generation} is in place again{stays}"
    return f"undone: nothing of this run is left{f' but {but}, for the next start' if made else ''}"


def made_images(record: RunRecord) -> tuple[str, ...]:
    """Services whose images a run has built or pulled."""
    return tuple(sorted({one.service for one in record.spans if _made(one) and one.service}))


def _made(span: Span) -> bool:
    return span.kind in (StepKind.BUILD, StepKind.PULL) and span.outcome == SpanOutcome.DONE
