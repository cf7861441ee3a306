"""Recovery of a run whose process died: an `up` is undone, other operations are finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.errors import EngineUnavailableError, HomeError, RunError, UndoIncompleteError, said
from moorage.model.event import Action
from moorage.model.request import DownRequest, RestartRequest
from moorage.model.state import RunOutcome, RunRecord
from moorage.model.step import Operation
from moorage.rules.excerpts import quoted
from moorage.work.runs import lifecycle, reapply, volume_copies
from moorage.work.runs.commit import after_commit, commit
from moorage.work.runs.context import Context
from moorage.work.runs.mending import mend
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import undo_and_close
from moorage.work.runs.undo import undo
from moorage.work.threads import in_thread

_KNOWN = frozenset(operation.value for operation in Operation)
_TRIES = 2
"""So often a recovery is tried that leaves something: doing it again finishes what was cut off, or refused once."""


async def recover(context: Context, record: RunRecord) -> list[str]:
    """Bring a run that did not finish to an end; to be called with the stack's lock held. Gives what is left, in words.

    What cannot be done is told and left: the stack must not be blocked by it for ever. Raises EngineUnavailableError,
    HomeError; then the next one tries again. So it does where a volume has not got back what was in it
    (UndoIncompleteError): nothing may run on it. Where that is lost, it is told once.
    """
    if record.operation not in _KNOWN:
        return await _closed(context, record, [_unknown_operation(record)])
    lost: UndoIncompleteError | None
    for _ in range(_TRIES):
        run, lost = _run_of(context.alone, record), None
        try:
            left = await _carry_on(run, record)
        except (EngineUnavailableError, HomeError):
            raise
        except UndoIncompleteError as error:
            if not error.fields.get("lost"):
                raise
            left, lost = [str(error)], error
            break
        except RunError as error:
            left = [str(error)]
            if error.fields.get("reason") != "not started":  # a service's own failure: another try comes to the same
                break
        except Exception as error:  # noqa: BLE001 - of a moment, or for good: then the next try meets it too
            left = [said(error)]
        if not left:
            break
    await _closed(context, record, left)
    if lost:
        raise lost
    if run.operation == Operation.RESTORE:
        await in_thread(lambda: volume_copies.discard(run))
    return left


async def _closed(context: Context, record: RunRecord, left: list[str]) -> list[str]:
    """Say what is left of a run, and close it."""
    world = context.world
    if left:
        run = lifecycle.new_run(context.alone, Operation.SWEEP, record.stack, None)
        run.tell(Action.NOTICE, message=f"the recovery is incomplete: {'; '.join(left)}")
    outcome = RunOutcome.RECOVERY_INCOMPLETE if left else RunOutcome.RECOVERED
    await in_thread(lambda: world.store.close_run(record.id, outcome, world.clock.now()))
    return left


def _unknown_operation(record: RunRecord) -> str:
    """Of a newer version, most likely. Nobody knows what it was to do."""
    return f"run {record.id}: its operation {quoted(record.operation)} is unknown; what it did stays"


def _run_of(context: Context, record: RunRecord) -> Run:
    """The run again, under its old id: what it leased and pinned is its own."""
    run = lifecycle.new_run(context, Operation(record.operation), record.stack, _seconds(record.arguments))
    run.id, run.record, run.force = record.id, record, bool(record.arguments.get("force"))
    run.flow_run_id = record.flow_run_id
    return run


def _seconds(arguments: Mapping[str, Any]) -> float | None:
    grace_s = arguments.get("grace_s")
    return grace_s if isinstance(grace_s, int | float) else None


async def _carry_on(run: Run, record: RunRecord) -> list[str]:
    """Undo or go on. Gives what is left."""
    if run.operation == Operation.UP or record.outcome == RunOutcome.UNDO_INCOMPLETE:
        return await undo(run.context, record)
    if run.operation == Operation.RESTORE:
        await volume_copies.put_back(run, record.arguments)
        return []
    await in_thread(lambda: run.world.compose.end_strays(run.stack))
    if run.operation == Operation.ROLLBACK:
        return await _roll_on(run, record)
    asked = record.arguments
    observed, names = await lifecycle.look(run), list(asked.get("services") or ())
    match run.operation:
        case Operation.DOWN if names and not set(names) & set(run.services):
            return []  # all of them are gone
        case Operation.DOWN:
            request = DownRequest(
                stack=run.stack,
                volumes=bool(asked.get("volumes")),
                release_ports=bool(asked.get("release_ports")),
                services=tuple(name for name in names if name in run.services),
            )
            await lifecycle.take_down(run, (await lifecycle.plan_down(run, request)).plan, request)
        case Operation.SNAPSHOT:
            await volume_copies.tidy_up(run, asked.get("unfinished"), record.id)
            await volume_copies.wake(run, names)
        case Operation.HEAL:
            anew = frozenset(asked.get("anew") or ()) - lifecycle.done_already(run, observed)
            await mend(run, observed, anew, names)
        case Operation.STOP:
            await carry_out(run, lifecycle.stop_plan(run, observed, names))
        case Operation.START if observed.containers:
            await lifecycle.begin(run, await lifecycle.start_plan(run, observed, names))
        case Operation.RESTART if observed.containers:
            again = RestartRequest(stack=run.stack, services=tuple(names), recreate=bool(asked.get("recreate")))
            await lifecycle.begin_again(run, await lifecycle.restart_plan(run, observed, again))
    return []


async def _roll_on(run: Run, record: RunRecord) -> list[str]:
    """Bring the chosen generation into place; where that cannot be done, the one before."""
    try:
        await reapply.apply(run, await reapply.plan_rollback(run, record.arguments["to"]))
        await commit(run)
    except EngineUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the generation before is the way out
        run.tell(Action.NOTICE, message=f"{said(error)}; going back")
        return await undo_and_close(run.context, record, RunOutcome.RECOVERED)
    await in_thread(lambda: after_commit(run))
    return []
