"""`heal`: brings services that have drifted back to their generation."""

from __future__ import annotations

from dataclasses import replace

from moorage.errors import BusyError, DefinitionError, EngineError, MoorageError, PortError, RunError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.health import Drift, HealState, Health
from moorage.model.state import Observed
from moorage.model.step import Operation
from moorage.rules import drift as rules
from moorage.work.definitions import generations
from moorage.work.queries.health import health
from moorage.work.runs import lifecycle
from moorage.work.runs.mending import mend
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import closed_at_end, locked
from moorage.work.threads import in_thread


def wants_healing(world: World, stack: str) -> bool:
    """True: the definition says `x-moorage.heal: true`."""
    generation = generations.current(world, stack)
    return bool(generation and (generation.config.get("x-moorage") or {}).get("heal") is True)


async def heal(
    world: World, stack: str, act_of: StepRunnerFor = directly, flow_run_id: str | None = None, *, insist: bool = False
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
    run = lifecycle.new_run(world, Operation.HEAL, stack, flow_run_id, None)
    try:
        async with locked(run, recover):
            found = await health_while_held(world, stack)
            observed = await lifecycle.look(run)
            treatments = rules.treat(found.drift, observed, world.store.runs(stack, rules.RUNS), world.clock.now())
            names = [one.service for one in treatments if insist or one.state == HealState.NOW]
            if names:
                await _mend(run, observed, found.drift, names, act_of)
    except BusyError:
        return found
    except (RunError, DefinitionError, EngineError, PortError) as error:
        if error.retryable:
            raise
        run.tell(Action.NOTICE, message=f"not repaired: {error}")
    after = await health(world, stack)
    drifted = {one.service for one in after.drift}
    treatments = rules.treat(after.drift, observed, world.store.runs(stack, rules.RUNS), world.clock.now())
    healed = tuple(sorted(set(names) - drifted))
    return after.model_copy(update={"treatments": treatments, "healed": healed})


async def health_while_held(world: World, stack: str) -> Health:
    """The same for the one who holds the lock."""
    found = await health(world, stack)
    generation = generations.current(world, stack)
    if generation is None:
        return found
    observed = await in_thread(lambda: world.engine.observe(stack))
    asleep = rules.resting(world.store.runs(stack, rules.RUNS), generation.services)
    drift = rules.drifts(generation, observed, found.checks, asleep, home=world.home, now=world.clock.now())
    return found.model_copy(update={"drift": drift})


async def _mend(
    run: Run, observed: Observed, found: tuple[Drift, ...], names: list[str], act_of: StepRunnerFor
) -> None:
    """Start again what is down, make anew what is not as its generation has it; dependents that broke come along."""
    await in_thread(lambda: run.open(observed, {"services": names}))
    async with closed_at_end(run):
        for one in found:
            if one.service in names:
                run.tell(Action.NOTICE, message=f"{one.service}: {one.kind}: {one.what}", service=one.service)
        await mend(run, observed, rules.to_recreate(found, run.services) & set(names), names, act_of)


__all__ = ["Health", "MoorageError", "heal", "health", "mend", "wants_healing"]
