"""`heal`: brings services that have drifted back to their generation."""

from __future__ import annotations

from moorage.errors import BusyError, DefinitionError, EngineError, PortError, RunError
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.health import Drift, HealState, Health, Treatment
from moorage.model.request import HealRequest
from moorage.model.state import Observed
from moorage.model.step import Operation
from moorage.rules import drift as rules
from moorage.work.definitions import generations
from moorage.work.queries.health import health
from moorage.work.runs import lifecycle
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.mending import mend
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.transaction import closed_at_end, locked
from moorage.work.threads import in_thread


def wants_healing(world: World, stack: str) -> bool:
    """True: the definition says `x-moorage.heal: true`."""
    generation = generations.current(world, stack)
    return bool(generation and (generation.config.get("x-moorage") or {}).get("heal") is True)


@foreign_errors_named()
async def heal(context: Context, request: HealRequest) -> Health:
    """Look, and bring back what has drifted; what does not stay mended is tried ever later, then no more.

    A stack that stays busy is left alone. What cannot be mended is told in what is given back,
    not raised. Raises EngineUnavailableError, HomeError.
    """
    context = context if request.insist else context.waiting(0.0)
    world, stack = context.world, request.stack
    found = await health(world, stack)
    if not found.drift:
        return found
    run = lifecycle.new_run(context, Operation.HEAL, stack, None)
    observed, names = None, []
    try:
        async with locked(run, recover):
            found = await health_while_held(world, stack)
            observed = await lifecycle.look(run)
            treatments = await _treatments(world, found, observed)
            names = [one.service for one in treatments if request.insist or one.state == HealState.NOW]
            if names:
                await _mend(run, observed, found.drift, names)
    except BusyError:
        return found
    except (RunError, DefinitionError, EngineError, PortError) as error:
        if error.retryable:
            raise
        run.tell(Action.NOTICE, message=f"not repaired: {error}")
    after = await health(world, stack)
    drifted = {one.service for one in after.drift}
    if observed is None:  # it failed before it had looked
        observed = await in_thread(lambda: world.engine.observe(stack))
    treatments = await _treatments(world, after, observed)
    return after.model_copy(update={"treatments": treatments, "healed": tuple(sorted(set(names) - drifted))})


async def _treatments(world: World, found: Health, observed: Observed) -> tuple[Treatment, ...]:
    runs = await in_thread(lambda: world.store.run_heads(found.stack))
    return rules.treat(found.drift, observed, runs, world.clock.now())


async def health_while_held(world: World, stack: str) -> Health:
    """The same for the one who holds the lock."""
    found = await health(world, stack)
    generation = await in_thread(lambda: generations.current(world, stack))
    if generation is None:
        return found
    observed = await in_thread(lambda: world.engine.observe(stack))
    runs = await in_thread(lambda: world.store.run_heads(stack))
    asleep = rules.resting(runs, generation.services)
    drift = rules.drifts(generation, observed, found.checks, asleep, home=world.home, now=world.clock.now())
    return found.model_copy(update={"drift": drift})


async def _mend(run: Run, observed: Observed, found: tuple[Drift, ...], names: list[str]) -> None:
    """Start what is down and re-create what differs from its generation, with dependents that broke."""
    anew = rules.to_recreate(found, run.services) & set(names)
    await in_thread(lambda: run.open(observed, {"services": names, "anew": sorted(anew)}))
    async with closed_at_end(run):
        for one in found:
            if one.service in names:
                run.tell(Action.NOTICE, message=f"{one.service}: {one.kind}: {one.what}", service=one.service)
        await mend(run, observed, anew, names)
