"""What `down`, `stop`, `start` and `restart` do to a stack whose lock is held.

Each looks at what is there before it acts, so that doing it again finishes what was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from moorage.errors import DefinitionError, PortTakenError, said
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.event import Action
from moorage.model.state import Container, Observed, StackState, StackStatus
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.rules import drift, graph, labels, planning, restarting, undo
from moorage.rules.restarting import Restart
from moorage.work.definitions import generations
from moorage.work.queries.ports import taken
from moorage.work.queries.readiness import is_ready
from moorage.work.queries.status import status
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.steps import StepRunnerFor
from moorage.work.threads import in_thread


class DownOptions:
    """How a stack is to end."""

    def __init__(self, *, volumes: bool = False, release_ports: bool = False, grace_s: float | None = None) -> None:
        self.volumes = volumes
        self.release_ports = release_ports
        self.grace_s = grace_s
        """Grace period of stops, in seconds. None: what the definition says."""


class RestartOptions:
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
    """What is there, with the lock held: of services, what the current generation (or a start that was kept) says.

    Services that no generation knows count too.
    """
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    generation = await in_thread(lambda: generations.known(run.world, run.stack))
    run.services = {}
    if generation:
        run.know(generation)
    for container in observed.containers:
        run.services.setdefault(container.service, Service(name=container.service))
    return observed


def down_plan(run: Run, observed: Observed, ending: DownOptions) -> Plan:
    """What `down` does, with the names of all of ours that goes; asks the engine whose it is."""
    plan = planning.stop_plan(run.stack, Operation.DOWN, run.services, observed)
    ports = run.world.store.leases(run.stack) if ending.release_ports else ()
    mine = [c for c in observed.containers if labels.ours(c.labels, run.stack, run.world.home)]
    volumes = {*_ours(run, "volume", observed.volumes), *(name for c in mine for name in undo.anonymous(c).values())}
    goes = {
        "containers": [container.name for container in mine],
        "networks": _ours(run, "network", observed.networks),
        "volumes and their data" if ending.volumes else "volumes that stay": volumes,
        "host ports": [str(port) for lease in ports for port in lease.ports],
    }
    detail = tuple(f"{what}: {', '.join(sorted(set(names)))}" for what, names in goes.items() if names)
    stops = tuple(step for step in plan.steps if step.kind == StepKind.STOP)
    if len(stops) == len(plan.steps) and not detail:
        return plan
    remove = Step(kind=StepKind.REMOVE, needs=tuple(step.id for step in stops), why="asked for", detail=detail)
    return plan.model_copy(update={"steps": (*stops, remove)})


def _ours(run: Run, kind: str, names: Iterable[str]) -> list[str]:
    engine, home = run.world.engine, run.world.home
    return [name for name in names if labels.ours(engine.owner(kind, name), run.stack, home)]


async def take_down(run: Run, observed: Observed, ending: DownOptions, act_of: StepRunnerFor) -> None:
    """Remove containers and networks, and what else `ending` says."""
    run.with_volumes = ending.volumes
    plan = planning.stop_plan(run.stack, Operation.DOWN, run.services, observed)
    await carry_out(plan.steps, act_of(run))
    await in_thread(lambda: _forget(run.world, run.stack, ending))


def _forget(world: World, stack: str, ending: DownOptions) -> None:
    """With `--volumes` and `--release-ports`, nothing of the stack is left, not even its record."""
    if ending.release_ports:
        world.store.release([lease.key for lease in world.store.leases(stack)])
    if ending.release_ports and ending.volumes:
        generations.forget_all(world, stack)
        world.store.forget_stack(stack)


async def halt(run: Run, observed: Observed, names: Sequence[str], act_of: StepRunnerFor) -> None:
    """Stop services (none named: all), dependents first, what is independent side by side."""
    await carry_out(stop_plan(run, observed, names).steps, act_of(run))


def stop_plan(run: Run, observed: Observed, names: Sequence[str]) -> Plan:
    """What `stop` does."""
    return planning.stop_plan(run.stack, Operation.STOP, run.services, _only(observed, names))


async def begin(run: Run, observed: Observed, names: Sequence[str], act_of: StepRunnerFor) -> None:
    """Start services (none named: all) with what they depend on, in order, each when it may.

    Raises PortError for a port that somebody has taken meanwhile: then nothing runs that did not run before.
    """
    plan = await start_plan(run, observed, names)
    try:
        await carry_out(plan.steps, act_of(run))
    except PortTakenError as error:
        told = await in_thread(partial(taken, run.world, run.stack, error))
        await _stop_again(run, act_of)
        raise told.with_fields(stack=run.stack, undone=True) from None


async def status_of_started(run: Run) -> StackStatus:
    """The status after a start or restart that is committed: where it cannot be read, that is told, not raised."""
    try:
        return await status(run.world, run.stack, ask=True)
    except Exception as error:  # noqa: BLE001 - what is done stays done
        run.tell(Action.NOTICE, message=f"done; but how it is now cannot be read: {said(error)}")
        return StackStatus(stack=run.stack, path=None, state=StackState.RUNNING, generation=None, services={})


async def start_plan(run: Run, observed: Observed, names: Sequence[str]) -> Plan:
    """What `start` does."""
    wanted = graph.with_dependencies(run.services, names or run.services)
    settled = await ready_ones(run, observed, wanted)
    return planning.start_plan(run.stack, Operation.START, run.services, wanted, settled)


async def _stop_again(run: Run, act_of: StepRunnerFor) -> None:
    """What this run started, also before it was cut off."""
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    ran = undo.active_before(run.record, run.services) if run.record else frozenset()
    off = undo.to_stop(observed, ran, run.world.home)
    if any(c.state in ("running", "paused", "restarting") for c in off.containers):
        run.tell(Action.NOTICE, message="stopping again what was started")
    await carry_out(planning.stop_plan(run.stack, Operation.STOP, run.services, off).steps, act_of(run))


async def begin_again(
    run: Run, observed: Observed, names: Sequence[str], asked: RestartOptions, act_of: StepRunnerFor
) -> None:
    """Stop services (none named: all) and start them again, with what broke with them."""
    chosen, plan = await restart_plan(run, observed, names, asked)
    run.generation = await in_thread(lambda: generations.current(run.world, run.stack))
    run.again, run.recreated = chosen.again, (chosen.create, asked.recreate)
    await carry_out(plan.steps, act_of(run))


async def restart_plan(
    run: Run, observed: Observed, names: Sequence[str], asked: RestartOptions
) -> tuple[Restart, Plan]:
    """What `restart` does. Raises DefinitionError: containers would have to be made, and nothing says how."""
    ready = await ready_ones(run, observed, run.services)
    done = done_already(run, observed)
    runs = await in_thread(lambda: run.world.store.runs(run.stack, drift.RUNS))
    asleep = drift.resting(runs, run.services)
    chosen = restarting.choose(run.services, observed, names, ready, done=done, asleep=asleep, recreate=asked.recreate)
    if chosen.create and await in_thread(lambda: generations.current(run.world, run.stack)) is None:
        message = f"{run.stack}: no generation is on record to create containers from"
        raise DefinitionError(message, hint="`moorage up` makes one.", stack=run.stack)
    return chosen, restarting.restart_plan(run.stack, run.services, observed, chosen, ready)


def done_already(run: Run, observed: Observed) -> frozenset[str]:
    """What this run had started anew before it was cut off: all containers have begun since, or are new."""
    if run.record is None:
        return frozenset()
    before = run.record.before.get("containers", {})

    def is_new(container: Container) -> bool:
        known = before.get(container.name, {})
        mark = {"id": container.id, "started_at": undo.mark_of(container)["started_at"]}
        return container.started_at is not None and any(known.get(key) != value for key, value in mark.items())

    names = {c.service for c in observed.containers}
    return frozenset(name for name in names if all(is_new(c) for c in observed.of(name)))


async def ready_ones(run: Run, observed: Observed, names: Iterable[str]) -> frozenset[str]:
    """Those of the named services that are ready now."""
    asked = [name for name in sorted(names) if observed.of(name)]
    answers = await asyncio.gather(*(is_ready(run.world, run.services, name, observed) for name in asked))
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
