"""`down`: a stack's containers and networks are removed; it rolls forward."""

from __future__ import annotations

from moorage.model.request import DownRequest
from moorage.model.step import Operation
from moorage.work.runs import lifecycle
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.result import Result
from moorage.work.runs.transaction import closed_at_end
from moorage.work.threads import in_thread


@foreign_errors_named()
async def down(context: Context, request: DownRequest) -> Result:
    """Remove containers and networks of a stack. Volumes and leases stay unless asked for."""
    run = lifecycle.new_run(context, Operation.DOWN, request.stack, request.timeout_s)
    async with approved_and_locked(run, lambda: lifecycle.plan_down(run, request)) as planned, closed_at_end(run):
        await in_thread(lambda: run.open(planned.observed, lifecycle.on_record(request)))
        await lifecycle.take_down(run, planned.plan, request)
    return Result(run)
