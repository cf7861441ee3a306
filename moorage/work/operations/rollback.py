"""`rollback`: an earlier generation is applied again, from its pinned images; it commits, or is undone."""

from __future__ import annotations

from moorage.model.request import RollbackRequest
from moorage.model.step import Operation
from moorage.work.runs import lifecycle, reapply
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.commit import after_commit, commit
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.memory import have_room
from moorage.work.runs.result import Result
from moorage.work.runs.transaction import undone_on_failure
from moorage.work.threads import in_thread, uncancelled


@foreign_errors_named()
async def rollback(context: Context, request: RollbackRequest) -> Result:
    """Apply an earlier generation. Raises DefinitionError: there is no such generation."""
    run = lifecycle.new_run(context, Operation.ROLLBACK, request.stack, None)
    async with approved_and_locked(run, lambda: reapply.plan_rollback(run, request.to)) as planned:
        generation = planned.generation
        await have_room(run, generation.config, generation.services, planned.observed, planned.plan)
        async with undone_on_failure(run):
            await in_thread(lambda: run.open(planned.observed, {"to": planned.generation.number}))
            await reapply.apply(run, planned)
            await uncancelled(commit(run))
        status = await uncancelled(in_thread(lambda: after_commit(run)))
    return Result(run, status, tuple(sorted(run.ready_s)))
