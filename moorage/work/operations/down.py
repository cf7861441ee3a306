"""`down`, `stop` and `start`: these roll forward; after a crash, the next command finishes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorage.interfaces import World
from moorage.model.state import Observed, StackStatus
from moorage.model.step import Operation, Plan
from moorage.work.queries.status import status
from moorage.work.runs import lifecycle as bodies
from moorage.work.runs.approval import Approval, approved_and_locked
from moorage.work.runs.lifecycle import DownOptions
from moorage.work.runs.run import Run
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import closed_at_end
from moorage.work.threads import in_thread

__all__ = ["DownOptions", "down", "start", "stop"]


async def down(
    world: World,
    stack: str,
    ending: DownOptions,
    act_of: StepRunnerFor = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> Run:
    """Remove containers and networks of a stack. Volumes and leases stay unless `ending` says otherwise."""
    run = bodies.new_run(world, Operation.DOWN, stack, flow_run_id, ending.grace_s)

    async def preview() -> Plan:
        observed = await bodies.look(run)
        return await in_thread(lambda: bodies.down_plan(run, observed, ending))

    async with approved_and_locked(run, approval, preview):
        asked = {"volumes": ending.volumes, "release_ports": ending.release_ports, "grace_s": ending.grace_s}
        async with closed_at_end(run):
            observed = await _open(run, asked)
            await bodies.take_down(run, observed, ending, act_of)
    return run


async def stop(
    world: World,
    stack: str,
    names: Sequence[str],
    grace_s: float | None,
    act_of: StepRunnerFor = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
    *,
    force: bool = False,
) -> Run:
    """Stop services (none named: all), dependents first, what is independent side by side. Containers stay.

    `force`: when the grace period is over they are killed, also where a pre_stop hook is still at work.
    """
    run = bodies.new_run(world, Operation.STOP, stack, flow_run_id, grace_s)
    run.force = force

    async def preview() -> Plan:
        return bodies.stop_plan(run, await _looked(run, names), names)

    async with approved_and_locked(run, approval, preview), closed_at_end(run):
        observed = await _open(run, {"services": list(names), "grace_s": grace_s, "force": force}, names)
        await bodies.halt(run, observed, names, act_of)
    return run


async def start(
    world: World,
    stack: str,
    names: Sequence[str],
    act_of: StepRunnerFor = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> tuple[Run, StackStatus]:
    """Start services again (none named: all) with what they depend on, in order, each when it may."""
    run = bodies.new_run(world, Operation.START, stack, flow_run_id, None)

    async def preview() -> Plan:
        return await bodies.start_plan(run, await _looked(run, names), names)

    async with approved_and_locked(run, approval, preview), closed_at_end(run):
        observed = await _open(run, {"services": list(names)}, names)
        await bodies.begin(run, observed, names, act_of)
    return run, await status(world, stack, ask=True)


async def _open(run: Run, arguments: Mapping[str, object], names: Sequence[str] = ()) -> Observed:
    """Look, and write the run down before its first effect. Raises DefinitionError for names that make no sense."""
    observed = await _looked(run, names)
    await in_thread(lambda: run.open(observed, dict(arguments)))
    return observed


async def _looked(run: Run, names: Sequence[str]) -> Observed:
    observed = await bodies.look(run)
    bodies.check_names(run, names, observed)
    return observed
