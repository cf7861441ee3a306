"""What `down`, `stop`, `start` and `restart` do to a stack whose lock is held.

Each looks at what is there before it acts, so that doing it again finishes what was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.model.step import Operation
from moorage.rules import graph, planning, restarting, undo
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


class Again:
    """How a restart is to go."""

    def __init__(self, *, recreate: bool = False, grace_s: float | None = None) -> None:
        self.recreate = recreate
        """Containers are made anew, from the current generation."""
        self.grace_s = grace_s
        """Grace period of stops, in seconds. None: what the definition says."""


def new_run(world: World, operation: Operation, stack: str, flow_run_id: str | None, grace_s: float | None) -> Run:
    """A run on a stack that knows its services once it has looked."""
    run = Run(world, operation, stack)
    run.flow_run_id, run.grace_s = flow_run_id, grace_s
    return run


async def look(run: Run) -> Observed:
    """What is there, with the lock held: of services, what the current generation says of them.

    Services that no generation knows (a start that was kept) count too.
    """
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    generation = await in_thread(lambda: generations.current(run.world, run.stack))
    if generation:
        run.know(generation)
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
    settled = await ready_ones(run, observed, wanted)
    plan = planning.start_plan(run.stack, Operation.START, run.services, wanted, settled)
    await carry_out(plan.steps, act_of(run))


async def begin_again(run: Run, observed: Observed, names: Sequence[str], asked: Again, act_of: ActOf) -> None:
    """Stop services (none named: all) and start them again, with what broke with them."""
    ready = await ready_ones(run, observed, run.services)
    done = _done_already(run, observed)
    chosen = restarting.choose(run.services, observed, names, ready, done=done, recreate=asked.recreate)
    run.generation = generations.current(run.world, run.stack)
    if chosen.create and run.generation is None:
        message = f"{run.stack}: no generation is on record to create containers from"
        raise DefinitionError(message, hint="`moorage up` makes one.", stack=run.stack)
    run.again, run.recreated = chosen.again, (chosen.create, asked.recreate)
    plan = restarting.restart_plan(run.stack, run.services, observed, chosen, ready)
    await carry_out(plan.steps, act_of(run))


def _done_already(run: Run, observed: Observed) -> frozenset[str]:
    """What this restart had started anew before it was cut off: all containers have begun since, or are new."""
    before = run.record.before.get("containers", {}) if run.record else {}

    def is_new(container: Container) -> bool:
        known = before.get(container.name, {})
        mark = {"id": container.id, "started_at": undo.mark_of(container)["started_at"]}
        return container.started_at is not None and any(known.get(key) != value for key, value in mark.items())

    names = {c.service for c in observed.containers}
    return frozenset(name for name in names if all(is_new(c) for c in observed.of(name)))


async def ready_ones(run: Run, observed: Observed, names: Iterable[str]) -> frozenset[str]:
    """Those of the named services that are ready now."""
    asked = [name for name in sorted(names) if observed.of(name)]
    answers = await asyncio.gather(*(is_ready(run.world, run.services, name, observed.of(name)) for name in asked))
    return frozenset(name for name, ready in zip(asked, answers, strict=True) if ready)


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
    if run.operation in (Operation.START, Operation.RESTART) and not observed.containers:
        message = f"{run.stack}: there are no containers to {run.operation}"
        raise DefinitionError(message, hint="`moorage up` creates them.")
