"""`down`, `stop`, `start` and `restart`: these roll forward, so that calling them again finishes what was cut."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.state import Observed, StackStatus
from moorage.model.step import Operation
from moorage.rules import graph, planning
from moorage.work import generations
from moorage.work.operation import locked, recover
from moorage.work.perform import carry_out
from moorage.work.run import Run
from moorage.work.status import status
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly
from moorage.work.waiting import is_ready


class Ending:
    """How a stack is to end."""

    def __init__(self, *, volumes: bool = False, release_ports: bool = False, grace_s: float | None = None) -> None:
        self.volumes = volumes
        self.release_ports = release_ports
        self.grace_s = grace_s
        """Grace period of stops, in seconds. None: what the definition says."""


async def down(
    world: World, stack: str, ending: Ending, act_of: ActOf = directly, flow_run_id: str | None = None
) -> Run:
    """Remove containers and networks of a stack. Volumes and leases stay unless `ending` says otherwise."""
    run = _run(world, Operation.DOWN, stack, flow_run_id, ending.grace_s)
    run.with_volumes = ending.volumes
    async with locked(run, recover):
        observed = await _open(run, {"volumes": ending.volumes, "release_ports": ending.release_ports})
        plan = planning.stop_plan(stack, Operation.DOWN, run.services, observed)
        await carry_out(plan.steps, act_of(run))
        await in_thread(lambda: _forget(world, stack, ending))
        await in_thread(lambda: world.store.close_run(run.id, "committed", world.clock.now()))
    return run


def _forget(world: World, stack: str, ending: Ending) -> None:
    """With `--volumes` and `--release-ports`, nothing of the stack is left, not even its record."""
    if ending.release_ports:
        world.store.release([lease.key for lease in world.store.leases(stack)])
    if ending.release_ports and ending.volumes:
        generations.forget_all(world, stack)
        world.store.forget_stack(stack)


async def stop(
    world: World,
    stack: str,
    names: Sequence[str],
    grace_s: float | None,
    act_of: ActOf = directly,
    flow_run_id: str | None = None,
) -> Run:
    """Stop services (none named: all), dependents first, what is independent side by side. Containers stay."""
    run = _run(world, Operation.STOP, stack, flow_run_id, grace_s)
    async with locked(run, recover):
        observed = await _open(run, {"services": list(names)})
        _check_names(run, names, observed)
        plan = planning.stop_plan(stack, Operation.STOP, run.services, _only(observed, names))
        await carry_out(plan.steps, act_of(run))
        await in_thread(lambda: world.store.close_run(run.id, "committed", world.clock.now()))
    return run


async def start(
    world: World, stack: str, names: Sequence[str], act_of: ActOf = directly, flow_run_id: str | None = None
) -> tuple[Run, StackStatus]:
    """Start services again (none named: all) with what they depend on, in order, each when it may."""
    run = _run(world, Operation.START, stack, flow_run_id, None)
    async with locked(run, recover):
        observed = await _open(run, {"services": list(names)})
        _check_names(run, names, observed)
        wanted = graph.with_dependencies(run.services, names or run.services)
        settled = [n for n in wanted if await is_ready(world, run.services, n, observed.of(n)) and observed.of(n)]
        plan = planning.start_plan(stack, Operation.START, run.services, wanted, frozenset(settled))
        try:
            await carry_out(plan.steps, act_of(run))
        finally:
            await in_thread(lambda: world.store.close_run(run.id, "committed", world.clock.now()))
    return run, await status(world, stack, ask=True)


def _run(world: World, operation: Operation, stack: str, flow_run_id: str | None, grace_s: float | None) -> Run:
    run = Run(world, operation, stack)
    run.flow_run_id, run.grace_s = flow_run_id, grace_s
    generation = generations.current(world, stack)
    run.services = dict(generation.services) if generation else {}
    return run


async def _open(run: Run, arguments: dict[str, object]) -> Observed:
    """Write the run down; gives what is there. Services that no generation knows (a start that was kept) count too."""
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    for container in observed.containers:
        run.services.setdefault(container.service, Service(name=container.service))
    await in_thread(lambda: run.open(observed, arguments))
    return observed


def _only(observed: Observed, names: Sequence[str]) -> Observed:
    chosen = [c for c in observed.containers if not names or c.service in names]
    return observed.model_copy(update={"containers": tuple(chosen)})


def _check_names(run: Run, names: Sequence[str], observed: Observed) -> None:
    """Raises DefinitionError for a service that the stack does not have, and for a stack that is not there."""
    known = sorted(run.services)
    for name in names:
        if name not in known:
            message = f"{run.stack}: no service {name!r}"
            raise DefinitionError(message, service=name, hint=f"It has: {', '.join(known) or 'none'}.")
    if run.operation == Operation.START and not observed.containers:
        message = f"{run.stack}: there are no containers to start"
        raise DefinitionError(message, hint="`moorage up` creates them.")
