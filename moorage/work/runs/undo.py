"""Undoes a run: a first `up` leaves nothing behind, a change gets its previous generation applied again.

Works on what the run wrote down before its first effect and on what the engine shows, never on memory of the process
that failed: a crashed run is undone by the same code.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from moorage.errors import EngineError, EngineUnavailableError, MoorageError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.state import Observed, RunRecord
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.rules import labels, planning
from moorage.rules import undo as rules
from moorage.work.definitions import generations
from moorage.work.runs import intermediate, placeholders
from moorage.work.runs.context import Context
from moorage.work.runs.removal import remove_unasked
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.threads import in_thread


async def undo(context: Context, record: RunRecord) -> list[str]:
    """Undo a run. Gives what could not be undone, in words; empty: all is as before.

    May be called again after it failed or was cut off. Raises EngineUnavailableError.
    """
    world = context.world
    # A Compose that its Moorage left behind would go on creating what is removed here.
    await in_thread(lambda: world.compose.end_strays(record.stack))
    await in_thread(lambda: intermediate.remove_left_behind(world, record.stack))
    generation = await in_thread(lambda: _generation_before(world, record))
    kept = await in_thread(lambda: generations.was_kept(world, record.stack, record.id))
    if kept and record.previous_generation is None:
        record = await in_thread(partial(_as_first, context, record))
    elif kept and generation:
        record = await in_thread(partial(_as_committed, world, record, generation))
    if record.before.get("containers") and generation:
        left = await _apply_again(context, record, generation, all_of_it=kept)
    else:
        left = await _remove_containers(context, record)
        left += await in_thread(lambda: _lost(world, record))
    left += await _remove_new(world, record)
    await in_thread(lambda: _forget_new(world, record, kept=generation))
    return left


def _as_committed(world: World, record: RunRecord, generation: Generation) -> RunRecord:
    """The record as if the ports of the committed generation had been leased, not those of the start that was kept."""
    leases = rules.leases_of(generation, world.clock.now(), None)
    world.store.release_run(record.id)
    world.store.release_all(record.stack)
    return record.model_copy(
        update={"before": {**record.before, "leases": [one.model_dump(mode="json") for one in leases]}}
    )


def _as_first(context: Context, record: RunRecord) -> RunRecord:
    """The record as if nothing but volumes had been there: what was kept was never committed, and goes too."""
    world = context.world
    Run(context, Operation.DOWN, record.stack).tell(
        Action.NOTICE, message="the failed start that was kept is removed too"
    )
    world.store.release_run(record.id)
    world.store.release_all(record.stack)
    empty = {"containers": {}, "networks": [], "tags": [], "leases": [], "on_record": False}
    return record.model_copy(update={"before": {**record.before, **empty}})


def _generation_before(world: World, record: RunRecord) -> Generation | None:
    number = record.previous_generation
    return generations.read(world, record.stack, number) if number else None


async def _apply_again(context: Context, record: RunRecord, generation: Generation, *, all_of_it: bool) -> list[str]:
    """Apply the generation before, from its pinned images, and wait until what ran then is ready; the rest is off.

    `all_of_it`: the generation had nothing to do with what ran then, so all of its services are started.
    """
    world, run = context.world, Run(context, Operation.ROLLBACK, record.stack)
    run.generation, run.leaves_ended = generation, True
    await in_thread(lambda: run.know(generation))
    runs = await in_thread(lambda: world.store.run_heads(record.stack))
    active = frozenset(run.services) if all_of_it else rules.active_before(record, run.services, runs)
    had = rules.had_containers(record) & set(run.services)
    wanted = {name for name, one in run.services.items() if one.replicas}
    if not all_of_it and had < wanted:  # what `down SERVICE` had taken away is not made again
        run.recreated = (had, False)
    try:
        # The leases first: a port that was given up belongs to this generation.
        await in_thread(lambda: _restore_leases(world, record))
        observed = await in_thread(lambda: world.engine.observe(record.stack))
        kept = rules.kept(observed, record, world.home, generation)
        await in_thread(lambda: placeholders.hold_places(run, rules.holders(record, kept.containers, world.home)))
        # All at once: Compose would stop what it replaces one after the other, each with its full grace.
        clearing = await in_thread(lambda: _removals(run, record, observed, kept))
        off = rules.to_stop(kept, active, world.home)
        longest_s = min(world.settings.stop_grace_s, rules.LONGEST_GRACE_S)
        run.grace_s = max((rules.grace_s(run.services, c.service, longest_s) for c in off.containers), default=None)
        halting = planning.stop_plan(run.stack, run.operation, run.services, off).steps
        if clearing:
            await carry_out(run, Plan(stack=run.stack, operation=run.operation, steps=clearing))
        # A new network may have the subnet of one that is to come back. One that is in use is tried again later.
        await in_thread(lambda: _remove_new_networks(world, record))
        steps = rules.reapply_steps(run.stack, run.operation, run.services, active, "undo", halting)
        await carry_out(run, Plan(stack=run.stack, operation=run.operation, steps=steps))
        if not all_of_it:
            await remove_unasked(run, wanted - had)
    except EngineUnavailableError:
        raise
    except MoorageError as error:
        return [f"generation {generation.number} of {record.stack} is not as it was: {error}"]
    return []


def _removals(run: Run, record: RunRecord, observed: Observed, kept: Observed) -> tuple[Step, ...]:
    """Remove all but what is kept, with the anonymous volumes that came with it."""
    run.discarded = _services_of(run.world, record)
    run.spared = {c.id for c in kept.containers} | rules.volumes_before(record)
    new = {c.service for c in (*observed.containers, *observed.init_containers) if c.id not in run.spared}
    return tuple(Step(kind=StepKind.REMOVE, service=name, why="undo") for name in sorted(new))


def _services_of(world: World, record: RunRecord) -> dict[str, Service]:
    """The services as the run wanted them. Empty: it did not get as far as a generation."""
    own = [one.number for one in world.store.generations(record.stack) if one.run == record.id]
    generation = generations.read(world, record.stack, own[0]) if own else None
    return dict(generation.services) if generation else {}


async def _remove_containers(context: Context, record: RunRecord) -> list[str]:
    """Remove the containers that were not there before."""
    world, run = context.world, Run(context, Operation.DOWN, record.stack)
    observed = await in_thread(lambda: world.engine.observe(record.stack))
    kept = rules.kept(observed, record, world.home)
    try:
        removals = await in_thread(lambda: _removals(run, record, observed, kept))
        await carry_out(run, Plan(stack=run.stack, operation=run.operation, steps=removals))
    except EngineUnavailableError:
        raise
    except MoorageError as error:
        return [str(error)]
    return []


def _lost(world: World, record: RunRecord) -> list[str]:
    """Containers that were replaced and that no generation can bring back."""
    there = {c.id for c in world.engine.observe(record.stack).containers}
    gone = sorted(name for name, one in record.before.get("containers", {}).items() if one["id"] not in there)
    return [f"these cannot be restored, no generation describes them: {', '.join(gone)}"] if gone else []


def _remove_new_networks(world: World, record: RunRecord) -> None:
    for name in _new_things(world, record)[0]:
        with suppress(EngineError):
            world.engine.remove_network(name)


async def _remove_new(world: World, record: RunRecord) -> list[str]:
    """Remove networks and volumes that bear our labels and were not there before."""
    networks, volumes = await in_thread(lambda: _new_things(world, record))
    left = await _all(*(partial(world.engine.remove_network, name) for name in networks))
    return left + await _all(*(partial(world.engine.remove_volume, name) for name in volumes))


def _new_things(world: World, record: RunRecord) -> tuple[list[str], list[str]]:
    observed = world.engine.observe(record.stack)

    def is_ours(kind: str, name: str) -> bool:
        return labels.ours(world.engine.owner(kind, name), record.stack, world.home)

    networks = [n for n in observed.networks if n not in record.before["networks"] and is_ours("network", n)]
    return networks, [v for v in observed.volumes if v not in record.before["volumes"] and is_ours("volume", v)]


def _restore_leases(world: World, record: RunRecord) -> None:
    """The leases as they were: what the run acquired is released, what it gave up is held again."""
    world.store.release_run(record.id)
    world.store.restore(rules.leases_before(record))


def _forget_new(world: World, record: RunRecord, kept: Generation | None) -> None:
    """Take back leases, generation records and image tags that the run added."""
    store, stack = world.store, record.stack
    _restore_leases(world, record)
    began = record.started_at if record.before.get("on_record") else None
    store.settle_subnets(
        stack, lambda known: [one for one in known if one.stack == stack and began and one.since < began]
    )
    known = store.addresses(stack)
    earlier = [one for one in known if began and one.since < began]
    if len(earlier) < len(known):
        store.save_addresses(stack, earlier)
    for generation in store.generations(stack):
        if generation.run == record.id:
            generations.forget(world, stack, generation.number)
    generations.remove_strays(world, stack)
    before = set(record.before["tags"]) | ({i.tag for i in kept.images.values()} if kept else set())
    for tag in world.engine.tags(labels.pin_prefix(stack)):
        if tag not in before:
            world.engine.untag(tag)
    if not record.before.get("on_record"):
        generations.forget_all(world, stack)
        store.forget_stack(stack)


async def _all(*calls: partial[None]) -> list[str]:
    """Do all, side by side; what failed, in words. Raises EngineUnavailableError."""
    answers = await asyncio.gather(*(in_thread(call) for call in calls), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        if isinstance(error, EngineUnavailableError) or not isinstance(error, EngineError):
            raise error
    return [str(error) for error in errors]
