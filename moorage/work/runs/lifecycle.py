"""What `down`, `stop`, `start` and `restart` do to a stack whose lock is held.

Each looks at what is there before it acts, so that doing it again finishes what was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from moorage.errors import DefinitionError, PortTakenError, said
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.request import DownRequest, RestartRequest, StackRequest
from moorage.model.state import Container, Observed, StackState, StackStatus
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.rules import attachments, drift, graph, labels, planning, restarting, undo
from moorage.rules.restarting import Restart
from moorage.rules.spelling import no_service
from moorage.work.definitions import generations
from moorage.work.queries.consent import is_for_production, wants_approval
from moorage.work.queries.ports import taken
from moorage.work.queries.readiness import is_ready
from moorage.work.queries.status import status
from moorage.work.runs.commit import remember_times
from moorage.work.runs.context import Context
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.threads import in_thread


@dataclass(frozen=True)
class Planned:
    """What is to be done to what is there."""

    observed: Observed
    plan: Plan


@dataclass(frozen=True)
class PlannedRestart(Planned):
    """The same for a restart."""

    chosen: Restart
    recreate: bool


def new_run(context: Context, operation: Operation, stack: str, grace_s: float | None) -> Run:
    """A run on a stack that knows its services once it has looked."""
    run = Run(context, operation, stack)
    run.grace_s = grace_s
    return run


def on_record(request: StackRequest) -> dict[str, Any]:
    """What is asked for, as a recovery reads it."""
    asked = request.model_dump(mode="json", exclude={"stack"})
    return {"grace_s" if key == "timeout_s" else key: value for key, value in asked.items()}


async def look(run: Run) -> Observed:
    """What is there, with the lock held: of services, what the current generation (or a start that was kept) says.

    Services that no generation knows count too.
    """
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    generation = await in_thread(lambda: generations.known(run.world, run.stack))
    run.services = {}
    if generation:
        await in_thread(partial(run.know, generation))
    for container in observed.containers:
        run.services.setdefault(container.service, Service(name=container.service))
    return observed


async def plan_down(run: Run, request: DownRequest) -> Planned:
    """What `down` does, with the names of all that goes."""
    observed = await _looked(run, request.services)
    if request.services:
        _refuse_of_services(request)
        return Planned(observed, _down_plan_of(run, observed, request))
    return Planned(observed, await in_thread(lambda: _down_plan(run, observed, request)))


def _refuse_of_services(request: DownRequest) -> None:
    """Raises DefinitionError: volumes and leases go with the stack; a volume is not one service's own."""
    for asked, option, instead in (
        (request.volumes, "--volumes", "`moorage volumes prune` removes volumes that nothing mounts"),
        (request.release_ports, "--release-ports", f"`moorage ports release {request.services[0]}` releases ports"),
    ):
        if asked:
            message = f"down: {option} is about a whole stack, not about services"
            raise DefinitionError(message, hint=f"Leave it out, or leave out the services; {instead}.")


def _down_plan_of(run: Run, observed: Observed, request: DownRequest) -> Plan:
    """The containers of some services are stopped, dependents first, and removed; the rest of the stack stays."""
    there = _only(observed, request.services)
    stops = planning.stop_plan(run.stack, Operation.STOP, run.services, there).steps
    stopped = {step.service: (step.id,) for step in stops}
    names = sorted({c.service for c in there.containers})
    removals = tuple(
        Step(kind=StepKind.REMOVE, service=name, needs=stopped.get(name, ()), why="requested") for name in names
    )
    return Plan(stack=run.stack, operation=Operation.DOWN, steps=(*stops, *removals))


def _down_plan(run: Run, observed: Observed, request: DownRequest) -> Plan:
    """Asks the engine whose things are."""
    plan = planning.stop_plan(run.stack, Operation.DOWN, run.services, observed)
    ports = run.world.store.leases(run.stack) if request.release_ports else ()
    there = (*observed.containers, *observed.one_offs)
    mine = [c for c in there if labels.ours(c.labels, run.stack, run.world.home)]
    volumes = {*_ours(run, "volume", observed.volumes), *(name for c in mine for name in undo.anonymous(c).values())}
    goes = {
        "containers": [container.name for container in mine],
        "networks": _ours(run, "network", observed.networks),
        "volumes and their data" if request.volumes else "volumes that stay": volumes,
        "host ports": [str(port) for lease in ports for port in lease.ports],
        "approval": ["not asked for any more"] if _ends_approval(run.world, request) else (),
    }
    detail = tuple(f"{what}: {', '.join(sorted(set(names)))}" for what, names in goes.items() if names)
    stops = tuple(step for step in plan.steps if step.kind == StepKind.STOP)
    if len(stops) == len(plan.steps) and not detail:
        return plan
    remove = Step(kind=StepKind.REMOVE, needs=tuple(step.id for step in stops), why="requested", detail=detail)
    return plan.model_copy(update={"steps": (*stops, remove)})


def _ends_approval(world: World, request: DownRequest) -> bool:
    """True: what comes after it needs no approval any more. So it is part of the plan, and needs approval itself."""
    if not request.release_ports:
        return False
    return is_for_production(world, request.stack) or (request.volumes and wants_approval(world, request.stack))


def _ours(run: Run, kind: str, names: Iterable[str]) -> list[str]:
    engine, home = run.world.engine, run.world.home
    return [name for name in names if labels.ours(engine.owner(kind, name), run.stack, home)]


async def take_down(run: Run, plan: Plan, request: DownRequest) -> None:
    """Remove containers and networks, and what else was asked for."""
    run.with_volumes = request.volumes
    if request.services:  # their data stays, also where the engine has named the volume
        observed = await in_thread(lambda: run.world.engine.observe(run.stack))
        run.spared = {volume for c in observed.containers for volume in undo.anonymous(c).values()}
    await carry_out(run, plan)
    await in_thread(lambda: _forget(run.world, request))


def _forget(world: World, request: DownRequest) -> None:
    """With `--release-ports`, it has no claim left: neither to ports nor to be one for production.

    With `--volumes` besides, nothing of the stack is left, not even its record. In any case it runs nowhere any more,
    and may come up on another engine.
    """
    stack = request.stack
    record = world.store.stack(stack)
    changed: dict[str, Any] = {} if request.services else {"engine": None}
    if request.release_ports:
        world.store.release_all(stack)
        changed["production"] = False
    if record and any(getattr(record, name) != value for name, value in changed.items()):
        world.store.save_stack(record.model_copy(update=changed))
    if request.release_ports and request.volumes:
        generations.forget_all(world, stack)
        world.store.forget_stack(stack)


async def plan_stop(run: Run, names: Sequence[str]) -> Planned:
    """What `stop` does to services (none named: all), dependents first. Raises DefinitionError: no such service."""
    observed = await _looked(run, names)
    return Planned(observed, stop_plan(run, observed, names))


def stop_plan(run: Run, observed: Observed, names: Sequence[str]) -> Plan:
    """The same for what has been looked at."""
    return planning.stop_plan(run.stack, Operation.STOP, run.services, _only(observed, names))


async def plan_start(run: Run, names: Sequence[str]) -> Planned:
    """What `start` does to services (none named: all) with what they depend on. Raises DefinitionError."""
    observed = await _looked(run, names)
    return Planned(observed, await start_plan(run, observed, names))


async def start_plan(run: Run, observed: Observed, names: Sequence[str]) -> Plan:
    """The same for what has been looked at. What is off its networks cannot be started: it is made again first."""
    wanted = graph.with_dependencies(run.services, names or run.services)
    if not names:  # what `down SERVICE` has taken away stays away
        asleep = drift.resting(await in_thread(lambda: run.world.store.run_heads(run.stack)), run.services)
        wanted -= {name for name in asleep if not observed.of(name)}
    _check_containers(run, observed, wanted)
    run.generation = await in_thread(lambda: generations.current(run.world, run.stack))
    off = off_networks(run.generation, observed, wanted)
    run.recreated = (frozenset(off), False)
    settled = await ready_ones(run, observed, wanted) - set(off)
    again = attachments.to_restart(run.services, observed, wanted - settled) - set(off)
    return planning.start_plan(run.stack, Operation.START, run.services, wanted, settled, off, again)


def off_networks(generation: Generation | None, observed: Observed, names: Iterable[str]) -> dict[str, str]:
    """Those of the named services that are off their networks → what is wrong; with what shares something with them.

    None: no generation says what to make them from, so they are left as they are.
    """
    if generation is None:
        return {}
    off = attachments.off(generation.config, observed, names)
    also = attachments.recreated_with(generation.config, off)
    return {**off, **{name: why for name, why in also.items() if observed.of(name)}}


async def begin(run: Run, plan: Plan) -> None:
    """Start services, each when it may.

    Raises PortError for a port that somebody has taken meanwhile: then nothing runs that did not run before.
    """
    try:
        await carry_out(run, plan)
    except PortTakenError as error:
        told = await in_thread(partial(taken, run.world, run.stack, error))
        await _stop_again(run)
        raise told.with_fields(stack=run.stack, undone=True) from None


async def _stop_again(run: Run) -> None:
    """What this run started, also before it was cut off."""
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    runs = await in_thread(lambda: run.world.store.run_heads(run.stack))
    ran = undo.active_before(run.record, run.services, runs) if run.record else frozenset()
    off = undo.to_stop(observed, ran, run.world.home)
    if any(c.is_up for c in off.containers):
        run.tell(Action.NOTICE, message="stopping what was started")
    await carry_out(run, planning.stop_plan(run.stack, Operation.STOP, run.services, off))


async def begin_again(run: Run, planned: PlannedRestart) -> None:
    """Stop services and start them again, with what broke with them."""
    run.generation = await in_thread(lambda: generations.current(run.world, run.stack))
    run.again, run.recreated = planned.chosen.again, (planned.chosen.create, planned.recreate)
    await carry_out(run, planned.plan)


async def status_of_started(run: Run) -> StackStatus:
    """The status after a run that is committed: where it cannot be read, that is told, not raised."""
    try:
        await in_thread(lambda: remember_times(run))
        return await status(run.world, run.stack, ask=True)
    except Exception as error:  # noqa: BLE001 - what is done stays done
        run.tell(Action.NOTICE, message=f"done; but how it is now cannot be read: {said(error)}")
        state = StackState.STOPPED if run.operation == Operation.STOP else StackState.RUNNING
        return StackStatus(stack=run.stack, path=None, state=state, generation=None, services={})


async def plan_restart(run: Run, request: RestartRequest) -> PlannedRestart:
    """What `restart` does to services (none named: all).

    Raises DefinitionError: no such service; containers would have to be made, and nothing says how.
    """
    return await restart_plan(run, await _looked(run, request.services), request)


async def restart_plan(run: Run, observed: Observed, request: RestartRequest) -> PlannedRestart:
    """The same for what has been looked at."""
    ready = await ready_ones(run, observed, run.services)
    done, recreate = done_already(run, observed), request.recreate
    runs = await in_thread(lambda: run.world.store.run_heads(run.stack))
    asleep = drift.resting(runs, run.services)
    known = await in_thread(lambda: generations.current(run.world, run.stack))
    chosen = restarting.choose(
        run.services, observed, request.services, ready, done=done, asleep=asleep, recreate=recreate
    )
    chosen = with_recreated(chosen, known, observed)
    if chosen.create and known is None:
        message = f"{run.stack}: no generation is on record to create containers from"
        raise DefinitionError(message, hint="`moorage up` makes one.", stack=run.stack)
    plan = restarting.restart_plan(run.stack, run.services, observed, chosen, ready)
    return PlannedRestart(observed, plan, chosen, recreate)


def with_recreated(chosen: Restart, generation: Generation | None, observed: Observed) -> Restart:
    """The same restart with all whose containers are made again: what is off its networks, what shares with those."""
    if generation is None:
        return chosen
    create = chosen.create | frozenset(off_networks(generation, observed, chosen.needed))
    also = frozenset(name for name in attachments.with_sharers(generation.config, create) if observed.of(name))
    running = frozenset(c.service for c in observed.containers if c.is_up)
    more = (create | also) & running
    return Restart(again=chosen.again | more, needed=chosen.needed | more, create=create | also)


def done_already(run: Run, observed: Observed) -> frozenset[str]:
    """The services that this run had restarted before it was cut off: all their containers are new or newly started."""
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
    looks = (is_ready(run.world, run.services, name, observed, to_start=True) for name in asked)
    answers = await asyncio.gather(*looks)
    return frozenset(name for name, ready in zip(asked, answers, strict=True) if ready)


def _only(observed: Observed, names: Sequence[str]) -> Observed:
    chosen = [c for c in observed.containers if not names or c.service in names]
    return observed.model_copy(update={"containers": tuple(chosen)})


async def _looked(run: Run, names: Sequence[str]) -> Observed:
    observed = await look(run)
    _check_names(run, names, observed)
    return observed


def _check_containers(run: Run, observed: Observed, names: Iterable[str]) -> None:
    """Raises DefinitionError for services without a container, which `start` does not create."""
    gone = [name for name in sorted(names) if run.services[name].replicas and not observed.of(name)]
    if gone and observed.containers:
        message = f"{run.stack}: {', '.join(gone)} {'has' if len(gone) == 1 else 'have'} no container to start"
        hint = f"`moorage up {' '.join(gone)}` creates it." if len(gone) == 1 else "`moorage up` creates them."
        raise DefinitionError(message, service=gone[0], hint=hint)


def _check_names(run: Run, names: Sequence[str], observed: Observed) -> None:
    """Raises DefinitionError for a service that the stack does not have, and for a stack that is not there."""
    known = sorted(run.services)
    for name in names:
        if name not in known:
            raise no_service(name, known, run.stack)
    if run.operation in (Operation.START, Operation.RESTART) and not observed.containers:
        message = f"{run.stack}: there are no containers to {run.operation}"
        raise DefinitionError(message, hint="`moorage up` creates them.")
