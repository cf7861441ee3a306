"""`up`, step by step; `flows/up.py` says it in one sentence."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from moorage.errors import NotReadyError, PortError, PortTakenError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.state import Observed, StackRecord, StackState, StackStatus
from moorage.model.step import Operation, Plan
from moorage.rules import composing, planning
from moorage.work import generations, resolve
from moorage.work.operation import locked, recover, undone_on_failure
from moorage.work.perform import Act, carry_out
from moorage.work.resolve import Wish
from moorage.work.run import Run
from moorage.work.status import status
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly
from moorage.work.waiting import not_ready

_MOST_CLASHES = 3


async def nothing_to_do(world: World, wish: Wish) -> StackStatus | None:
    """The status of the stack, if an `up` would change nothing and all is ready. None: there is something to do."""
    desired, _, plan = await resolve.plan(world, wish)
    name = desired.definition.name
    if not plan.empty or world.store.unfinished_runs(name) or generations.current(world, name) is None:
        return None
    found = await status(world, name, ask=False)
    ready = {key: service.model_copy(update={"ready": True}) for key, service in found.services.items()}
    return found.model_copy(update={"services": ready, "state": StackState.RUNNING})


async def plan(run: Run) -> Plan:
    """Plan the run from what is there now, and write it down."""
    assert run.wish is not None  # noqa: S101 - an up has a wish
    desired, observed, steps = await resolve.plan(run.world, run.wish)
    run.adopt(desired, steps)
    if run.record is None:
        await in_thread(lambda: run.open(observed, {"wish": run.wish.model_dump(mode="json") if run.wish else {}}))
    return steps


async def apply(run: Run, act: Act) -> Plan:
    """Plan and carry out; a port that turns out to be taken is leased anew and the rest planned again."""
    for _ in range(_MOST_CLASHES):
        steps = await plan(run)
        try:
            await carry_out(steps.steps, act)
        except PortTakenError as error:
            await in_thread(partial(give_up_port, run, error))
        else:
            return steps
    message = f"{run.stack}: ports were taken by others {_MOST_CLASHES} times in a row"
    raise PortError(message, hint="Which program takes them? `moorage ports` lists ours.")


def give_up_port(run: Run, error: PortTakenError) -> None:
    """Release the lease of a port that someone else holds, and never choose it again in this run."""
    service, port = error.fields.get("service"), error.fields.get("port")
    leases = [lease for lease in run.world.store.leases(run.stack) if lease.key.service == service]
    clashing = [lease for lease in leases if port in lease.ports] or leases
    if (run.wish and run.wish.strict_ports) or not clashing:
        holder = run.world.prober.holder_of(port, "tcp") if port else None
        by = f" by {holder}" if holder else ""
        message = f"services.{service}: port {port} is taken{by}"
        raise PortError(
            message, service=service, port=port, holder=holder, hint="Free it, or leave out --strict-ports."
        )
    for lease in clashing:
        run.excluded.update((number, lease.key.protocol) for number in lease.ports)
    run.world.store.release([lease.key for lease in clashing])
    ports = ", ".join(str(lease.port) for lease in clashing)
    run.tell(Action.RETRY, f"start {service}", f"port {ports} was taken: leasing another", service=service)


async def commit(run: Run) -> StackStatus:
    """The generation is current from here on: checked once more, then written down."""
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    _still_there(run, observed)
    await in_thread(lambda: _commit(run))
    found = await status(run.world, run.stack, ask=False)
    ready = {
        name: s.model_copy(update={"ready": True, "time_to_ready_s": run.ready_s.get(name, s.time_to_ready_s)})
        for name, s in found.services.items()
    }
    return found.model_copy(update={"services": ready, "state": StackState.RUNNING})


def _still_there(run: Run, observed: Observed) -> None:
    """What became ready may have ended while others started: a start ends with everything ready, or undone."""
    from moorage.rules import graph

    for name, service in run.services.items():
        containers = observed.of(name)
        one_shot = graph.is_one_shot(run.services, name)
        if (
            service.replicas
            and not planning.is_settled(service, containers, one_shot=one_shot)
            and not service.restarts
        ):
            ended = next((c for c in containers if c.state != "running"), None)
            log = run.world.engine.logs(ended.id, 50) if ended else ""
            error: NotReadyError = not_ready(name, "exited" if ended else "removed", ended, "", log, 0.0)
            raise error


def _commit(run: Run) -> None:
    world, store = run.world, run.world.store
    generation = run.generation or generations.current(world, run.stack)
    if generation is None:  # the containers were all as they should be, their record was not
        generation = run.pin()
    now = world.clock.now()
    for record in store.generations(run.stack):
        if record.number == generation.number:
            elapsed_s = round(world.clock.monotonic() - run.began, 3) if run.generation else record.time_to_ready_s
            store.save_generation(record.model_copy(update={"outcome": "current", "time_to_ready_s": elapsed_s}))
        elif record.outcome == "current":
            store.save_generation(record.model_copy(update={"outcome": "superseded"}))
    store.save_stack(_stack_record(run, generation))
    if run.desired:
        wanted = {request.key for request in composing.requests_of(run.desired.definition)}
        store.release([lease.key for lease in store.leases(run.stack) if lease.key not in wanted])
    store.commit_run(run.id)
    for name, seconds in run.ready_s.items():
        store.add_timing(run.stack, name, generation.number, "ready", seconds, now)
    generations.prune(world, run.stack)


def _stack_record(run: Run, generation: Generation) -> StackRecord:
    world = run.world
    known = world.store.stack(run.stack)
    repository, branch, _ = world.place(generation.source.directory)
    ttl_s = (run.wish.ttl_s if run.wish else None) or (run.desired.definition.ttl_s if run.desired else None)
    now = world.clock.now()
    return StackRecord(
        name=run.stack,
        path=str(generation.source.directory),
        created_at=known.created_at if known else now,
        generation=generation.number,
        expires_at=now + timedelta(seconds=ttl_s) if ttl_s else None,
        repository=repository,
        branch=branch,
    )


async def up(
    world: World, wish: Wish, act_of: ActOf = directly, flow_run_id: str | None = None
) -> tuple[Run, StackStatus]:
    """Bring a stack up: commits, or undoes all and raises."""
    definition = await in_thread(lambda: resolve.resolve(world, wish))
    named = wish.model_copy(update={"name": definition.name})
    run = Run(world, Operation.UP, definition.name, named)
    run.flow_run_id = flow_run_id
    act = act_of(run)
    async with locked(run, recover), undone_on_failure(run, act_of):
        await apply(run, act)
        return run, await commit(run)
