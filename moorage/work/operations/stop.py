"""`stop`: services end, their containers stay; it rolls forward."""

from __future__ import annotations

from moorage.model.request import StopRequest
from moorage.model.step import Operation
from moorage.work.runs import lifecycle
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.result import Result
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import closed_at_end
from moorage.work.threads import in_thread


@foreign_errors_named()
async def stop(context: Context, request: StopRequest) -> Result:
    """Stop services, dependents first, what is independent side by side. Containers stay."""
    run = lifecycle.new_run(context, Operation.STOP, request.stack, request.timeout_s)
    run.force = request.force
    async with (
        approved_and_locked(run, lambda: lifecycle.plan_stop(run, request.services)) as planned,
        closed_at_end(run),
    ):
        await in_thread(lambda: run.open(planned.observed, lifecycle.on_record(request)))
        await carry_out(run, planned.plan)
    return Result(run, await lifecycle.status_of_started(run))
