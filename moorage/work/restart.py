"""`restart`: services end and come up again with their ports, environment and volumes; it rolls forward."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.interfaces import World
from moorage.model.state import Observed, StackStatus
from moorage.model.step import Operation, Plan
from moorage.work import ending
from moorage.work.approving import Approval, agreed
from moorage.work.ending import Again
from moorage.work.operation import closed_at_end
from moorage.work.run import Run
from moorage.work.status import status
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly


async def restart(
    world: World,
    stack: str,
    names: Sequence[str],
    asked: Again,
    act_of: ActOf = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> tuple[Run, StackStatus]:
    """Restart services (none named: all), dependents stopped first, each started when it may.

    What depends on them and broke with them comes back too. Raises DefinitionError, NotReadyError; after the latter
    all is left as it is, for a look.
    """
    run = ending.new_run(world, Operation.RESTART, stack, flow_run_id, asked.grace_s)

    async def looked() -> Observed:
        observed = await ending.look(run)
        ending.check_names(run, names, observed)
        return observed

    async def preview() -> Plan:
        _, plan = await ending.restart_plan(run, await looked(), names, asked)
        return plan

    async with agreed(run, approval, preview), closed_at_end(run):
        observed = await looked()
        arguments = {"services": list(names), "grace_s": asked.grace_s, "recreate": asked.recreate}
        await in_thread(lambda: run.open(observed, arguments))
        await ending.begin_again(run, observed, names, asked, act_of)
    return run, await status(world, stack, ask=True)
