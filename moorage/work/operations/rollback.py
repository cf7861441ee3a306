"""`rollback`: an earlier generation is applied again, from its pinned images; it commits, or is undone."""

from __future__ import annotations

from moorage.interfaces import World
from moorage.model.state import StackStatus
from moorage.model.step import Operation, Plan
from moorage.work.runs import lifecycle, reapply
from moorage.work.runs.approval import Approval, approved_and_locked
from moorage.work.runs.commit import after_commit, commit
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.run import Run
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import undone_on_failure
from moorage.work.threads import in_thread, uncancelled


@foreign_errors_named()
async def rollback(
    world: World,
    stack: str,
    to: int | None,
    act_of: StepRunnerFor = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> tuple[Run, StackStatus]:
    """Apply generation `to` (None: the one before the current). Raises DefinitionError: there is no such generation."""
    run = lifecycle.new_run(world, Operation.ROLLBACK, stack, flow_run_id, None)

    async def preview() -> Plan:
        return reapply.plan_of(stack, await in_thread(lambda: reapply.choose(world, stack, to)))

    async with approved_and_locked(run, approval, preview):
        generation = await in_thread(lambda: reapply.choose(world, stack, to))
        observed = await in_thread(lambda: world.engine.observe(stack))
        async with undone_on_failure(run, act_of):
            await in_thread(lambda: run.open(observed, {"to": generation.number}))
            await reapply.apply(run, generation, act_of)
            await uncancelled(commit(run))
        return run, await uncancelled(in_thread(lambda: after_commit(run)))
