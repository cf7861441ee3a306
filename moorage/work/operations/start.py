"""`start`: services that were stopped come up again, in order; it rolls forward."""

from __future__ import annotations

from moorage.model.request import StartRequest
from moorage.model.step import Operation
from moorage.work.runs import lifecycle
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.memory import have_room
from moorage.work.runs.result import Result
from moorage.work.runs.transaction import closed_at_end
from moorage.work.threads import in_thread


@foreign_errors_named()
async def start(context: Context, request: StartRequest) -> Result:
    """Start services again with what they depend on, in order, each when it may."""
    run = lifecycle.new_run(context, Operation.START, request.stack, None)
    async with approved_and_locked(run, lambda: lifecycle.plan_start(run, request.services)) as planned:
        if run.generation:
            await have_room(run, run.generation.config, run.services, planned.observed, planned.plan)
        async with closed_at_end(run):
            await in_thread(lambda: run.open(planned.observed, lifecycle.on_record(request)))
            await lifecycle.begin(run, planned.plan)
    return Result(run, await lifecycle.status_of_started(run))
