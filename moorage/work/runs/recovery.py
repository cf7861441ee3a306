"""Recovery of a run whose process died: an `up` is undone, other operations are finished."""

from __future__ import annotations

from moorage.errors import EngineUnavailableError, HomeError, MoorageError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.state import RunRecord
from moorage.model.step import Operation
from moorage.work.runs import lifecycle, reapply, volume_copies
from moorage.work.runs.commit import commit
from moorage.work.runs.run import Run
from moorage.work.runs.steps import directly
from moorage.work.runs.transaction import undo_and_close
from moorage.work.runs.undo import undo
from moorage.work.threads import in_thread


async def recover(world: World, record: RunRecord) -> None:
    """Bring a run that did not finish to an end; to be called with the stack's lock held.

    What cannot be done is told and left: the stack must not be blocked by it for ever. Raises EngineUnavailableError,
    HomeError; then the next one tries again.
    """
    run = _run_of(world, record)
    try:
        left = await _carry_on(run, record)
    except (EngineUnavailableError, HomeError):
        raise
    except MoorageError as error:
        left = [str(error)]
    if left:
        run.tell(Action.NOTICE, message=f"the recovery is incomplete: {'; '.join(left)}")
    outcome = "recovery incomplete" if left else "recovered"
    await in_thread(lambda: world.store.close_run(record.id, outcome, world.clock.now()))


def _run_of(world: World, record: RunRecord) -> Run:
    """The run again, under its old id: what it leased and pinned is its own."""
    grace_s = record.arguments.get("grace_s")
    run = lifecycle.new_run(world, Operation(record.operation), record.stack, record.flow_run_id, grace_s)
    run.id, run.record, run.force = record.id, record, bool(record.arguments.get("force"))
    return run


async def _carry_on(run: Run, record: RunRecord) -> list[str]:
    """Undo or go on. Gives what is left."""
    if run.operation == Operation.UP or record.outcome == "undo incomplete":
        return await undo(run.world, record)
    await in_thread(lambda: run.world.compose.end_strays(run.stack))
    if run.operation == Operation.ROLLBACK:
        return await _roll_on(run, record)
    if run.operation == Operation.RESTORE:
        await volume_copies.put_back(run, record.arguments, directly)
        return []
    observed, names = await lifecycle.look(run), list(record.arguments.get("services") or ())
    match run.operation:
        case Operation.DOWN:
            asked = {key: bool(record.arguments.get(key)) for key in ("volumes", "release_ports")}
            await lifecycle.take_down(run, observed, lifecycle.DownOptions(**asked, grace_s=run.grace_s), directly)
        case Operation.SNAPSHOT:
            await volume_copies.tidy_up(run, record.arguments.get("unfinished"))
            await volume_copies.wake(run, names, directly)
        case Operation.HEAL if observed.containers:
            await lifecycle.begin(run, observed, [name for name in names if name in run.services], directly)
        case Operation.STOP:
            await lifecycle.halt(run, observed, names, directly)
        case Operation.START if observed.containers:
            await lifecycle.begin(run, observed, names, directly)
        case Operation.RESTART if observed.containers:
            again = lifecycle.RestartOptions(recreate=bool(record.arguments.get("recreate")), grace_s=run.grace_s)
            await lifecycle.begin_again(run, observed, names, again, directly)
    return []


async def _roll_on(run: Run, record: RunRecord) -> list[str]:
    """Bring the chosen generation into place; where that cannot be done, the one before."""
    try:
        await reapply.apply(run, reapply.choose(run.world, run.stack, record.arguments["to"]), directly)
        await commit(run)
    except EngineUnavailableError:
        raise
    except MoorageError as error:
        run.tell(Action.NOTICE, message=f"{error}; going back")
        return await undo_and_close(run.world, record, directly, "recovered")
    return []
