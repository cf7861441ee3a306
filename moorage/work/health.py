"""Health of a stack: every check run now, drift from the generation found, and mended where that is wanted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from moorage.errors import BusyError, DefinitionError, EngineError, MoorageError, PortError, RunError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.health import CheckResult, Drift, HealState, Health
from moorage.model.state import Container, Observed
from moorage.model.step import Operation, Step, StepKind
from moorage.rules import drift as rules
from moorage.rules import graph, readiness, restarting
from moorage.rules.readiness import Way
from moorage.work import ending, generations
from moorage.work.operation import closed_at_end, locked
from moorage.work.perform import carry_out
from moorage.work.recovery import recover
from moorage.work.run import Run
from moorage.work.threads import abandonable, in_thread
from moorage.work.undo import ActOf, directly
from moorage.work.waiting import ask


async def health(world: World, stack: str) -> Health:
    """Run every service's check now, and compare what runs with the generation. Touches nothing."""
    observed = await in_thread(lambda: world.engine.observe(stack))
    generation = await in_thread(lambda: generations.current(world, stack))
    known = generation or await in_thread(lambda: generations.known(world, stack))
    services = dict(known.services) if known else {}
    for container in observed.containers:
        services.setdefault(container.service, Service(name=container.service))
    asleep = rules.resting(world.store.runs(stack, ending.RUNS), services)
    awake = [name for name in sorted(services) if name not in asleep and services[name].replicas]
    answers = await asyncio.gather(*(_check_service(world, services, name, observed) for name in awake))
    checks = tuple(check for answer in answers for check in answer)
    return Health(
        stack=stack,
        generation=generation.number if generation else None,
        ready=all(check.ready for check in checks) and bool(checks or services),
        resting=bool(services) and not awake,
        checks=checks,
        drift=_drift(world, generation, observed, checks, asleep),
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
    found = await asyncio.gather(*(_check(world, services, name, container) for container in containers))
    missing = services[name].replicas - len(containers)
    if missing > 0:
        words = "there is no container" if not containers else f"{missing} more should be there"
        absent = CheckResult(service=name, container="", state="absent", ready=False, check="", message=words)
        return (*found, absent)
    return tuple(found)


async def _check(world: World, services: dict[str, Service], name: str, container: Container) -> CheckResult:
    """Ask one container, whatever the engine thinks of it: its word may be as old as the check's interval."""
    settings = world.settings
    probe = readiness.probe_of(services, name, container, settings.ready_timeout_s, settings.settle_s)
    began = world.clock.monotonic()
    if probe.way == Way.EXIT:
        well = readiness.judge(services[name], container, probe, world.clock.now()).ended_well
        answer = None if well else f"it is {container.state}" + _code(container)
    elif container.state != "running":
        answer = f"it is {container.state}" + _code(container)
    else:
        answer = await _asked(world, container, probe)
    return CheckResult(
        service=name,
        container=container.name,
        state=container.state,
        ready=answer is None,
        check=probe.source,
        message=answer or "",
        elapsed_s=round(world.clock.monotonic() - began, 3),
    )


def _code(container: Container) -> str:
    return "" if container.exit_code is None else f", exit code {container.exit_code}"


async def _asked(world: World, container: Container, probe: readiness.Probe) -> str | None:
    try:
        return await abandonable(partial(ask, world, container, probe, 0.0), probe.timeout_s)
    except TimeoutError:
        return f"{probe.source}: no answer within {probe.timeout_s:g} s"
    except EngineError as error:
        return str(error)


def wants_healing(world: World, stack: str) -> bool:
    """True: the definition says `x-moorage.heal: true`."""
    generation = generations.current(world, stack)
    return bool(generation and (generation.config.get("x-moorage") or {}).get("heal") is True)


async def heal(
    world: World, stack: str, act_of: ActOf = directly, flow_run_id: str | None = None, *, insist: bool = False
) -> Health:
    """Look, and bring back what has drifted; what does not stay mended is tried ever later, then no more.

    `insist`: a person asked: at once, and also what was given up; else a stack that is busy is not waited for: it is
    looked at again soon. A stack that stays busy is left alone. What cannot be mended is told in what is given back,
    not raised. Raises EngineUnavailableError, HomeError.
    """
    if not insist:
        world = replace(world, settings=world.settings.model_copy(update={"lock_timeout_s": 0.0}))
    found = await health(world, stack)
    if not found.drift:
        return found
    run = ending.new_run(world, Operation.HEAL, stack, flow_run_id, None)
    try:
        async with locked(run, recover):
            found = await health_while_held(world, stack)
            observed = await ending.look(run)
            treatments = rules.treat(found.drift, observed, world.store.runs(stack, ending.RUNS), world.clock.now())
            names = [one.service for one in treatments if insist or one.state == HealState.NOW]
            if names:
                await _mend(run, observed, found.drift, names, act_of)
    except BusyError:
        return found
    except (RunError, DefinitionError, EngineError, PortError) as error:
        if error.retryable:
            raise
        run.tell(Action.NOTICE, message=f"not mended: {error}")
    after = await health(world, stack)
    drifted = {one.service for one in after.drift}
    treatments = rules.treat(after.drift, observed, world.store.runs(stack, ending.RUNS), world.clock.now())
    healed = tuple(sorted(set(names) - drifted))
    return after.model_copy(update={"treatments": treatments, "healed": healed})


async def health_while_held(world: World, stack: str) -> Health:
    """The same for the one who holds the lock."""
    found = await health(world, stack)
    generation = generations.current(world, stack)
    if generation is None:
        return found
    observed = await in_thread(lambda: world.engine.observe(stack))
    asleep = rules.resting(world.store.runs(stack, ending.RUNS), generation.services)
    drift = rules.drifts(generation, observed, found.checks, asleep, home=world.home, now=world.clock.now())
    return found.model_copy(update={"drift": drift})


async def _mend(run: Run, observed: Observed, found: tuple[Drift, ...], names: list[str], act_of: ActOf) -> None:
    """Start again what is down, make anew what is not as its generation has it; dependents that broke come along."""
    await in_thread(lambda: run.open(observed, {"services": names}))
    async with closed_at_end(run):
        for one in found:
            if one.service in names:
                run.tell(Action.NOTICE, message=f"{one.service}: {one.kind}: {one.what}", service=one.service)
        await mend(run, observed, rules.to_recreate(found, run.services) & set(names), names, act_of)


async def mend(run: Run, observed: Observed, anew: frozenset[str], names: list[str], act_of: ActOf) -> None:
    """The steps of a heal; doing them again finishes what was cut off."""
    known = generations.current(run.world, run.stack)
    services = dict(known.services) if known else {}
    surplus = [name for name in names if name not in services]
    steps = tuple(Step(kind=StepKind.REMOVE, service=name, why="it is in no generation") for name in surplus)
    await carry_out(steps, act_of(run))
    wanted = [name for name in names if name in services]
    if not wanted:
        return
    run.services, run.generation = services, known
    ready = await ending.ready_ones(run, observed, services)
    chosen = restarting.choose(services, observed, wanted, ready - set(wanted))
    chosen = chosen.model_copy(update={"create": chosen.create | anew})
    run.again = frozenset(name for name in chosen.again if not graph.is_one_shot(services, name) or name in wanted)
    run.recreated = (chosen.create, True)
    plan = restarting.restart_plan(run.stack, services, observed, chosen, ready - set(wanted))
    await carry_out(plan.steps, act_of(run))


__all__ = ["Health", "MoorageError", "heal", "health", "mend", "wants_healing"]
