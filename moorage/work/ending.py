"""What `down`, `stop` and `start` do to a stack whose lock is held.

Each looks at what is there before it acts, so that doing it again finishes what was cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.state import Observed
from moorage.model.step import Operation
from moorage.rules import graph, planning
from moorage.work import generations
from moorage.work.perform import carry_out
from moorage.work.run import Run
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf
from moorage.work.waiting import is_ready


class Ending:
    """How a stack is to end."""

    def __init__(self, *, volumes: bool = False, release_ports: bool = False, grace_s: float | None = None) -> None:
        self.volumes = volumes
        self.release_ports = release_ports
        self.grace_s = grace_s
        """Grace period of stops, in seconds. None: what the definition says."""


def new_run(world: World, operation: Operation, stack: str, flow_run_id: str | None, grace_s: float | None) -> Run:
    """A run on a stack as its current generation knows it."""
    run = Run(world, operation, stack)
    run.flow_run_id, run.grace_s = flow_run_id, grace_s
    generation = generations.current(world, stack)
    run.services = dict(generation.services) if generation else {}
    return run


async def look(run: Run) -> Observed:
    """What is there. Services that no generation knows (a start that was kept) count too."""
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    for container in observed.containers:
        run.services.setdefault(container.service, Service(name=container.service))
    return observed


async def take_down(run: Run, observed: Observed, ending: Ending, act_of: ActOf) -> None:
    """Remove containers and networks, and what else `ending` says."""
    run.with_volumes = ending.volumes
    plan = planning.stop_plan(run.stack, Operation.DOWN, run.services, observed)
    await carry_out(plan.steps, act_of(run))
    await in_thread(lambda: _forget(run.world, run.stack, ending))


def _forget(world: World, stack: str, ending: Ending) -> None:
    """With `--volumes` and `--release-ports`, nothing of the stack is left, not even its record."""
    if ending.release_ports:
        world.store.release([lease.key for lease in world.store.leases(stack)])
    if ending.release_ports and ending.volumes:
        generations.forget_all(world, stack)
        world.store.forget_stack(stack)


async def halt(run: Run, observed: Observed, names: Sequence[str], act_of: ActOf) -> None:
    """Stop services (none named: all), dependents first, what is independent side by side."""
    plan = planning.stop_plan(run.stack, Operation.STOP, run.services, _only(observed, names))
    await carry_out(plan.steps, act_of(run))


async def begin(run: Run, observed: Observed, names: Sequence[str], act_of: ActOf) -> None:
    """Start services (none named: all) with what they depend on, in order, each when it may."""
    wanted = graph.with_dependencies(run.services, names or run.services)
    settled = [
        name
        for name in wanted
        if observed.of(name) and await is_ready(run.world, run.services, name, observed.of(name))
    ]
    plan = planning.start_plan(run.stack, Operation.START, run.services, wanted, frozenset(settled))
    await carry_out(plan.steps, act_of(run))


def _only(observed: Observed, names: Sequence[str]) -> Observed:
    chosen = [c for c in observed.containers if not names or c.service in names]
    return observed.model_copy(update={"containers": tuple(chosen)})


def check_names(run: Run, names: Sequence[str], observed: Observed) -> None:
    """Raises DefinitionError for a service that the stack does not have, and for a stack that is not there."""
    known = sorted(run.services)
    for name in names:
        if name not in known:
            message = f"{run.stack}: no service {name!r}"
            raise DefinitionError(message, service=name, hint=f"It has: {', '.join(known) or 'none'}.")
    if run.operation == Operation.START and not observed.containers:
        message = f"{run.stack}: there are no containers to start"
        raise DefinitionError(message, hint="`moorage up` creates them.")
