"""Health of a stack: runs every check now, and finds drift from the generation."""

from __future__ import annotations

import asyncio
from functools import partial

from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.event import Action, Event
from moorage.model.generation import Generation
from moorage.model.health import CheckResult, Drift, Health
from moorage.model.state import Container, Observed
from moorage.rules import attachments, endings, readiness
from moorage.rules import drift as rules
from moorage.rules.readiness import Way
from moorage.work.definitions import generations
from moorage.work.queries.readiness import asked, is_over
from moorage.work.threads import in_thread


async def health(world: World, stack: str) -> Health:
    """Run every service's check now, and compare what runs with the generation. Touches nothing."""
    observed = await in_thread(lambda: world.engine.observe(stack))
    for one in observed.unreadable:
        world.emit(Event(at=world.clock.now(), stack="", action=Action.NOTICE, message=one.said))
    generation = await in_thread(lambda: generations.current(world, stack))
    known = generation or await in_thread(lambda: generations.known(world, stack))
    services = dict(known.services) if known else {}
    for container in observed.containers:
        services.setdefault(container.service, Service(name=container.service))
    runs = await in_thread(lambda: world.store.run_heads(stack))
    asleep = rules.resting(runs, services)
    awake = [name for name in sorted(services) if name not in asleep and services[name].replicas]
    answers = await asyncio.gather(*(_check_service(world, services, name, observed) for name in awake))
    # A check's words are what its program printed, and they go far: into events, notifications, the history.
    hide = await in_thread(lambda: generations.censor(world, stack, known))
    checks = tuple(check.model_copy(update={"message": hide(check.message)}) for found in answers for check in found)
    return Health(
        stack=stack,
        generation=generation.number if generation else None,
        ready=all(check.ready for check in checks) and bool(checks or services),
        resting=bool(services) and not awake,
        checks=checks,
        drift=await in_thread(lambda: _drift(world, generation, observed, checks, asleep)),
    )


def _drift(
    world: World,
    generation: Generation | None,
    observed: Observed,
    checks: tuple[CheckResult, ...],
    asleep: frozenset[str],
) -> tuple[Drift, ...]:
    """Empty also while a run is under way: it will not have drifted, it is on its way."""
    if generation is None or world.lock(observed.stack).held():
        return ()
    return rules.drifts(generation, observed, checks, asleep, home=world.home, now=world.clock.now())


async def _check_service(
    world: World, services: dict[str, Service], name: str, observed: Observed
) -> tuple[CheckResult, ...]:
    containers = observed.of(name)
    found = await asyncio.gather(*(_check(world, services, observed, name, one) for one in containers))
    missing = services[name].replicas - len(containers)
    if missing > 0:
        words = "there is no container" if not containers else f"{missing} more containers should exist"
        absent = CheckResult(service=name, container="", state="absent", ready=False, check="", message=words)
        return (*found, absent)
    return tuple(found)


async def _check(
    world: World, services: dict[str, Service], observed: Observed, name: str, container: Container
) -> CheckResult:
    """Ask one container, whatever the engine thinks of it: its word may be as old as the check's interval."""
    settings = world.settings
    probe = readiness.probe_of(services, name, container, settings.ready_timeout_s, settings.settle_s)
    began = world.clock.monotonic()
    if left := attachments.left_behind(services, container, observed):
        answer: str | None = left
    elif probe.way != Way.EXIT and container.state == "running":
        answer = (await asked(world, container, probe, 0.0, sum(part.timeout_s for part in probe.parts))).wrong
    else:
        well = endings.ended_well(services, container)
        over = well and await in_thread(partial(is_over, world, services, observed.stack, container))
        answer = None if over else f"it is {container.state}" + _code(container)
    return CheckResult(
        service=name,
        container=container.name,
        state=container.state,
        ready=answer is None,
        check=probe.source if container.state == "running" or probe.way == Way.EXIT else "",  # else none was run
        message=answer or "",
        elapsed_s=round(world.clock.monotonic() - began, 3),
    )


def _code(container: Container) -> str:
    return "" if container.exit_code is None else f", exit code {container.exit_code}"
