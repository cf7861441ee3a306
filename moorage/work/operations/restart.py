"""`restart`: stops services and starts them again with the same ports, environment and volumes; rolls forward."""

from __future__ import annotations

from moorage.model.request import RestartRequest
from moorage.model.step import Operation
from moorage.work.runs import lifecycle
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.result import Result
from moorage.work.runs.transaction import closed_at_end
from moorage.work.threads import in_thread


@foreign_errors_named()
async def restart(context: Context, request: RestartRequest) -> Result:
    """Restart services, dependents stopped first, each started when it may.

    What depends on them and broke with them comes back too. Raises DefinitionError, NotReadyError; after the latter
    all is left as it is, for inspection.
    """
    run = lifecycle.new_run(context, Operation.RESTART, request.stack, request.timeout_s)
    async with approved_and_locked(run, lambda: lifecycle.plan_restart(run, request)) as planned, closed_at_end(run):
        await in_thread(lambda: run.open(planned.observed, lifecycle.on_record(request)))
        await lifecycle.begin_again(run, planned)
    return Result(run, await lifecycle.status_of_started(run), tuple(sorted(run.again)))
