"""`restart`: stops services and starts them again with the same ports, environment and volumes; rolls forward."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.interfaces import World
from moorage.model.state import Observed, StackStatus
from moorage.model.step import Operation, Plan
from moorage.work.queries.status import status
from moorage.work.runs import lifecycle
from moorage.work.runs.approval import Approval, approved_and_locked
from moorage.work.runs.lifecycle import RestartOptions
from moorage.work.runs.run import Run
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import closed_at_end
from moorage.work.threads import in_thread


async def restart(
    world: World,
    stack: str,
    names: Sequence[str],
    asked: RestartOptions,
    act_of: StepRunnerFor = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> tuple[Run, StackStatus]:
    """Restart services (none named: all), dependents stopped first, each started when it may.

    What depends on them and broke with them comes back too. Raises DefinitionError, NotReadyError; after the latter
    all is left as it is, for a look.
    """
    run = lifecycle.new_run(world, Operation.RESTART, stack, flow_run_id, asked.grace_s)

    async def looked() -> Observed:
        observed = await lifecycle.look(run)
        lifecycle.check_names(run, names, observed)
        return observed

    async def preview() -> Plan:
        _, plan = await lifecycle.restart_plan(run, await looked(), names, asked)
        return plan

    async with approved_and_locked(run, approval, preview), closed_at_end(run):
        observed = await looked()
        arguments = {"services": list(names), "grace_s": asked.grace_s, "recreate": asked.recreate}
        await in_thread(lambda: run.open(observed, arguments))
        await lifecycle.begin_again(run, observed, names, asked, act_of)
    return run, await status(world, stack, ask=True)
