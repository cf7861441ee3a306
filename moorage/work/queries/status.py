"""State of stacks, read from the engine each time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.generation import Generation
from moorage.model.state import Container, Observed, ServiceStatus, StackRecord, StackState, StackStatus
from moorage.rules import attachments, composing, drift, endings, graph, volumes
from moorage.work.definitions import generations
from moorage.work.queries import engines
from moorage.work.queries.readiness import is_over, is_ready
from moorage.work.threads import in_thread


async def status(world: World, stack: str, *, ask: bool = True, observed: Observed | None = None) -> StackStatus:
    """State of one stack. `ask`: services are asked whether they are ready; else the engine's view must do.

    `observed` None: it is looked at.
    """
    seen = observed if observed is not None else await in_thread(lambda: world.engine.observe(stack))
    record, generation = await in_thread(lambda: (world.store.stack(stack), generations.known(world, stack)))
    services = dict(generation.services) if generation else {}
    names = sorted({*services, *(c.service for c in seen.containers)})
    known = {name: services.get(name) or Service(name=name) for name in names}
    ready = await _ready(world, known, seen, ask=ask)
    return await in_thread(lambda: _told(world, seen, record, generation, known, ready))


async def _ready(world: World, services: dict[str, Service], observed: Observed, *, ask: bool) -> frozenset[str]:
    """Services that have as many containers as they want, all of them ready."""
    whole = [name for name in services if len(observed.of(name)) == services[name].replicas]
    if not ask:
        return await in_thread(
            lambda: frozenset(
                name
                for name in whole
                if all(_looks_ready(world, services, observed.stack, c) for c in observed.of(name))
            )
        )
    answers = await asyncio.gather(*(is_ready(world, services, name, observed) for name in whole))
    return frozenset(name for name, answer in zip(whole, answers, strict=True) if answer)


def _looking_ready(
    world: World, services: dict[str, Service], observed: Observed, names: Sequence[str]
) -> frozenset[str]:
    return frozenset(
        name for name in names if all(_looks_ready(world, services, observed.stack, c) for c in observed.of(name))
    )


def _told(
    world: World,
    observed: Observed,
    record: StackRecord | None,
    generation: Generation | None,
    services: dict[str, Service],
    ready: frozenset[str],
) -> StackStatus:
    """What was found, with what is on record. Reads the registry."""
    stack = observed.stack
    off = attachments.off(generation.config, observed) if generation else {}
    found = {
        name: service_status(
            observed.of(name), ready=name in ready and name not in off, time_s=_time_to_ready(world, stack, name)
        )
        for name in services
    }
    return StackStatus(
        stack=stack,
        path=record.path if record else None,
        state=_state(world, stack, found, services),
        generation=record.generation if record else None,
        services=found,
        networks=observed.networks,
        shared_networks=composing.shared_networks(generation.config) if generation else (),
        engine=world.engine.place().words,
        notices=(
            *_elsewhere(world, stack),
            *(notices_of(generation, observed) if generation else ()),
            *(one.said for one in observed.unreadable),
            *_damaged(world, record, generation),
        ),
    )


def _elsewhere(world: World, stack: str) -> tuple[str, ...]:
    other = engines.elsewhere(world, stack)
    return (f"it is on the engine at {other.address}, which was not asked",) if other else ()


def _damaged(world: World, record: StackRecord | None, generation: Generation | None) -> tuple[str, ...]:
    """What cannot be read of the current generation, without which its services are those that have containers."""
    if record is None or record.generation is None or generation is not None:
        return ()
    return tuple(one.said for one in generations.unreadable(world, record.name, record.generation))


def notices_of(generation: Generation, observed: Observed) -> tuple[str, ...]:
    """What is not as the generation says, in words: networks that services are off, volumes with other options."""
    off = attachments.off(generation.config, observed)
    looks = ((c.service, attachments.left_behind(generation.services, c, observed)) for c in observed.containers)
    left = {name: words for name, words in looks if words}
    return (
        *(f"services.{name}: {words}; `moorage up` mends it" for name, words in {**left, **off}.items()),
        *volumes.kept_options(generation.config, observed),
    )


def _looks_ready(world: World, services: dict[str, Service], stack: str, container: Container) -> bool:
    if endings.ended_well(services, container):
        return is_over(world, services, stack, container)
    return container.state == "running" and container.health in (None, "healthy")


def _time_to_ready(world: World, stack: str, service: str) -> float | None:
    return next(iter(world.store.timings(stack, service, "ready", 1)), None)


def service_status(containers: tuple[Container, ...], *, ready: bool, time_s: float | None) -> ServiceStatus:
    """One service by its containers. `time_s`: from start to ready; None: not known."""
    worst = min(containers, key=lambda c: c.state == "running", default=None)
    return ServiceStatus(
        state=worst.state if worst else "absent",
        ready=ready,
        engine_health=worst.health if worst else None,
        containers=tuple(c.id[:12] for c in containers),
        image_id=containers[0].image_id if containers else None,
        exit_code=worst.exit_code if worst else None,
        oom_killed=any(c.oom_killed for c in containers),
        restarts=sum(c.restarts for c in containers),
        time_to_ready_s=time_s,
        ports=tuple(port for c in containers for port in c.ports),
        addresses=tuple(address for c in containers for address in c.addresses),
    )


def _state(world: World, stack: str, services: dict[str, ServiceStatus], known: dict[str, Service]) -> StackState:
    asleep = drift.resting(world.store.run_heads(stack), known)
    # What was taken down on purpose is not missing.
    wanted = [one for name, one in services.items() if known[name].replicas and (one.containers or name not in asleep)]
    if not any(service.containers for service in wanted):
        return StackState.ABSENT
    if all(service.ready for service in wanted):
        return StackState.RUNNING
    if world.lock(stack).held():
        return StackState.STARTING
    lasting = [s for name, s in services.items() if not graph.is_one_shot(known, name)]
    if all(service.state != "running" for service in lasting):
        return StackState.STOPPED
    return StackState.DEGRADED
