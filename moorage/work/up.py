"""`up`, step by step; `flows/up.py` says it in one sentence."""

from __future__ import annotations

from collections import Counter
from functools import partial

from moorage.errors import PortError, PortTakenError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.state import Observed, StackState, StackStatus
from moorage.model.step import Operation, Plan
from moorage.rules.planning import Desired
from moorage.work import generations, images, resolve
from moorage.work.approving import Approval, agreed
from moorage.work.commit import commit, status_of_committed
from moorage.work.operation import uncancelled, undone_on_failure
from moorage.work.perform import Act, carry_out
from moorage.work.run import Run
from moorage.work.status import status
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly
from moorage.work.wish import Wish

_MOST_CLASHES = 3
"""So often a service gets other ports in place of those that turn out to be taken when it starts."""


Planned = tuple[Desired, Observed, Plan]


async def idle_as_planned(world: World, wish: Wish, planned: Planned) -> StackStatus | None:
    """The status of the stack, if an `up` would change nothing and all is ready. None: there is something to do."""
    desired, _, plan = planned
    name = desired.definition.name
    if not plan.empty or wish.ttl_s is not None:  # a time to live is written down, and counts from now on
        return None
    if world.store.unfinished_runs(name) or not generations.is_current(world, desired):
        return None
    found = await status(world, name, ask=False)
    ready = {key: service.model_copy(update={"ready": True}) for key, service in found.services.items()}
    return found.model_copy(update={"services": ready, "state": StackState.RUNNING})


async def apply(run: Run, act: Act, planned: Planned) -> None:
    """Write the run down and carry the plan out; when a port turns out to be taken, lease anew and plan the rest."""
    await in_thread(lambda: run.open(planned[1], {"wish": run.wish.on_record() if run.wish else {}}))
    clashes: Counter[str] = Counter()  # of each service: where many stacks start at once, each port may clash
    while True:
        desired, _, steps = planned
        run.adopt(desired, steps)
        try:
            await carry_out(steps.steps, act)
        except PortTakenError as error:
            service = str(error.fields.get("service"))
            clashes[service] += 1
            await in_thread(partial(give_up_port, run, error))
            if clashes[service] > _MOST_CLASHES:
                message = f"services.{service}: its ports were taken by others {clashes[service]} times in a row"
                hint = "Which program takes them? `moorage ports` lists ours."
                raise PortError(message, service=service, hint=hint) from error
            planned = await _plan(run)
        else:
            return


async def _plan(run: Run) -> Planned:
    assert run.wish is not None  # noqa: S101 - an up has a wish
    return await resolve.plan(run.world, run.wish, frozenset(run.excluded))


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


async def up(
    world: World,
    wish: Wish,
    act_of: ActOf = directly,
    flow_run_id: str | None = None,
    approval: Approval | None = None,
) -> tuple[Run, StackStatus]:
    """Bring a stack up: commits, or undoes all and raises. `approval` None: nobody is asked."""
    definition = await in_thread(lambda: resolve.resolve(world, wish))
    named = wish.model_copy(update={"name": definition.name})
    run = Run(world, Operation.UP, definition.name, named)
    run.flow_run_id = flow_run_id

    async def preview() -> Plan:
        _, _, plan = await _plan(run)
        return plan

    async with agreed(run, approval, preview, wanted=wish.approve or definition.approve):
        planned = await _plan(run)
        # Another `up` that we waited for may have done it all.
        if idle := await idle_as_planned(world, named, planned):
            return run, idle
        await images.require_builder(world, named, planned[0], planned[2])
        async with undone_on_failure(run, act_of):
            await apply(run, act_of(run), planned)
            await uncancelled(commit(run))
        return run, await uncancelled(in_thread(lambda: status_of_committed(run)))
