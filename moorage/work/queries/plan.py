"""What an `up` would do, from what is there now; touches nothing."""

from __future__ import annotations

import asyncio

from moorage.interfaces import World
from moorage.model.definition import Definition
from moorage.model.lease import Lease
from moorage.model.state import Observed, StackState, StackStatus
from moorage.model.step import Plan
from moorage.rules import composing, graph, planning
from moorage.rules.planning import Desired
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import desire, resolve
from moorage.work.queries.readiness import is_ready
from moorage.work.queries.status import status
from moorage.work.threads import in_thread


def preview_leases(
    world: World, request: UpRequest, definition: Definition, excluded: frozenset[tuple[int, str]] = frozenset()
) -> tuple[Lease, ...]:
    """The leases that an `up` would have, with nothing stored; `excluded` (port, protocol) are not to be chosen."""
    return world.store.preview(
        composing.requests_of(definition),
        taken=world.engine.published_ports() | excluded,
        bindable=world.prober.bindable,
        strict=request.strict_ports,
        complete=True,
        now=world.clock.now(),
    )


async def plan_up(
    world: World, request: UpRequest, excluded: frozenset[tuple[int, str]] = frozenset()
) -> tuple[Desired, Observed, Plan]:
    """The plan of an `up` from what is there now. Touches nothing. `excluded` ports are not to be leased."""
    definition = await in_thread(lambda: resolve(world, request))
    graph.order(definition.services)
    leases = await in_thread(lambda: preview_leases(world, request, definition, excluded))
    desired, observed = await asyncio.gather(
        in_thread(lambda: desire(world, request, definition, leases)),
        in_thread(lambda: world.engine.observe(definition.name)),
    )
    ready = await ready_services(world, desired, observed)
    return desired, observed, planning.make_plan(desired, observed, ready)


async def ready_services(world: World, desired: Desired, observed: Observed) -> frozenset[str]:
    """The services that are found ready just now; only those that nothing would change are asked."""
    services = desired.definition.services
    same = [name for name in services if not planning.change_of(name, desired, observed)]
    answers = await asyncio.gather(*(is_ready(world, services, name, observed) for name in same))
    return frozenset(name for name, ready in zip(same, answers, strict=True) if ready)


def _is_settled(world: World, desired: Desired) -> bool:
    """True: no run is open, and what is desired is the current generation."""
    return not world.store.unfinished_runs(desired.definition.name) and generations.is_current(world, desired)


Planned = tuple[Desired, Observed, Plan]


async def idle_as_planned(world: World, request: UpRequest, planned: Planned) -> StackStatus | None:
    """The status of the stack, if an `up` would change nothing and all is ready. None: there is something to do."""
    desired, _, plan = planned
    name = desired.definition.name
    if not plan.empty or request.ttl_s is not None:  # a time to live is written down, and counts from now on
        return None
    if not await in_thread(lambda: _is_settled(world, desired)):
        return None
    found = await status(world, name, ask=False)
    ready = {key: service.model_copy(update={"ready": True}) for key, service in found.services.items()}
    return found.model_copy(update={"services": ready, "state": StackState.RUNNING})
