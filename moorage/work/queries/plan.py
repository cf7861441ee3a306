"""What an `up` would do in the current state; changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.lease import Lease
from moorage.model.state import Observed, StackState, StackStatus
from moorage.model.step import Plan
from moorage.rules import composing, engines, graph, planning, volumes
from moorage.rules.planning import Desired
from moorage.work.definitions import generations, sharing, subnetting
from moorage.work.definitions.request import displaced_by
from moorage.work.definitions.resolve import Resolved, desire
from moorage.work.queries.consent import is_for_production, wants_approval
from moorage.work.queries.readiness import is_ready
from moorage.work.queries.status import status
from moorage.work.threads import in_thread


@dataclass(frozen=True)
class PlannedUp:
    """What an `up` is to do, and what that was made from."""

    resolved: Resolved
    desired: Desired
    observed: Observed
    plan: Plan


def preview_leases(
    world: World, resolved: Resolved, excluded: frozenset[tuple[int, str]] = frozenset()
) -> tuple[Lease, ...]:
    """The leases that an `up` would have, with nothing stored; `excluded` (port, protocol) are not to be chosen."""
    return world.store.preview(
        composing.requests_of(resolved.definition),
        taken=world.engine.published_ports() | excluded,
        bindable=world.prober.bindable,
        strict=resolved.request.strict_ports,
        complete=True,
        now=world.clock.now(),
    )


async def plan_up(
    world: World, resolved: Resolved, excluded: frozenset[tuple[int, str]] = frozenset(), *, to_start: bool = True
) -> PlannedUp:
    """The plan of an `up` from what is there now. Touches nothing. `excluded` ports are not to be leased.

    `to_start` False: only images are made, so that no port has to be reached. Raises DefinitionError: dependencies in a
    circle, a name that another stack has, ports on another machine, or behind a rootless engine.
    """
    graph.order(resolved.definition.services)
    if to_start:
        await in_thread(lambda: _refuse_unreachable(world, resolved.definition.services))
    leases = await in_thread(lambda: preview_leases(world, resolved, excluded))
    desired, observed = await asyncio.gather(
        in_thread(lambda: desire(world, resolved, leases)),
        in_thread(lambda: world.engine.observe(resolved.name)),
    )
    definition = desired.definition
    await in_thread(lambda: subnetting.check_addresses(world, definition.config, definition.services, observed))
    found = await in_thread(lambda: sharing.check(world, definition, observed))
    ready = await ready_services(world, desired, observed)
    plan = planning.make_plan(desired, observed, ready)
    unseen = await in_thread(lambda: tuple(_without_a_step(world, resolved)))
    kept = volumes.kept_options(desired.definition.config, observed)
    plan = plan.model_copy(update={"notices": (*plan.notices, *desired.notices, *found, *kept, *unseen)})
    return PlannedUp(resolved, desired, observed, plan)


def _refuse_unreachable(world: World, services: Mapping[str, Service]) -> None:
    engines.refuse_far(services, world.engine.place())
    if world.engine.is_rootless():
        engines.refuse_apart(services)


def _without_a_step(world: World, resolved: Resolved) -> Iterator[str]:
    """What an `up` changes besides its steps, for those who are to approve it."""
    if resolved.request.ttl_s is not None:
        yield f"time to live: {resolved.request.ttl_s:g} s from now; then `sweep` ends the stack"
    if other := displaced_by(world, resolved.request.source, resolved.raw, resolved.name):
        yield (
            f"name: {other!r} is a plain Compose project, so this stack is {resolved.name!r}; "
            f"`docker compose -p {other} down` ends that one"
        )
    if not world.engine.has_limits():
        yield from engines.without_limits(world.engine.product(), resolved.definition.config)
    asks = resolved.request.approve or resolved.definition.approve
    if not asks and wants_approval(world, resolved.name) and not is_for_production(world, resolved.name):
        yield "approval: from now on, nobody is asked any more"


async def ready_services(world: World, desired: Desired, observed: Observed) -> frozenset[str]:
    """The services that are found ready just now; only those that nothing would change are asked."""
    services = desired.definition.services
    same = [name for name, why in planning.changes_of(desired, observed).items() if not why]
    answers = await asyncio.gather(*(is_ready(world, services, name, observed, to_start=True) for name in same))
    return frozenset(name for name, ready in zip(same, answers, strict=True) if ready)


async def idle_as_planned(world: World, planned: PlannedUp) -> StackStatus | None:
    """The status of the stack, if an `up` would change nothing and all is ready. None: there is something to do."""
    name = planned.resolved.name
    if not planned.plan.empty or planned.resolved.request.ttl_s is not None:  # a time to live counts from now on
        return None
    if not await in_thread(lambda: _is_settled(world, planned.desired)):
        return None
    found = await status(world, name, ask=False, observed=planned.observed)
    asked = planned.desired.definition.services
    ready = {
        key: service.model_copy(update={"ready": service.ready or key in asked})
        for key, service in found.services.items()
    }
    state = found.state if planned.desired.kept.services else StackState.RUNNING
    return found.model_copy(update={"services": ready, "state": state})


def _is_settled(world: World, desired: Desired) -> bool:
    """True: the desired generation is the current one, and no run has still to be recovered."""
    return not world.store.unfinished_runs(desired.definition.name) and generations.is_current(world, desired)
