"""Undoing a run: after the first `up` nothing of it stays, after a change the generation before is applied again.

Works on what the run wrote down before its first effect and on what the engine shows, never on memory of the process
that failed: a crashed run is undone by the same code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from moorage.errors import EngineError, MoorageError
from moorage.interfaces import World
from moorage.model.generation import Generation
from moorage.model.state import Observed, RunRecord
from moorage.model.step import Operation, Step, StepKind
from moorage.rules import graph, labels, planning
from moorage.work import generations
from moorage.work.perform import Act, carry_out, perform
from moorage.work.run import Run
from moorage.work.threads import in_thread

ActOf = Callable[[Run], Act]
"""For a run, what does one of its steps: directly, or as a task run."""


def directly(run: Run) -> Act:
    """Steps are done as they are, without Prefect."""

    async def act(step: Step, _needs: list[Any]) -> str:
        return await perform(step, run)

    return act


async def undo(world: World, record: RunRecord, act_of: ActOf = directly) -> list[str]:
    """Undo a run. Gives what could not be undone, in words; empty: all is as before."""
    before = record.before.get("containers") or {}
    generation = _generation_before(world, record)
    if before and generation:
        return await _apply_again(world, record, generation, act_of)
    return await _clear(world, record, set(before), act_of)


def _generation_before(world: World, record: RunRecord) -> Generation | None:
    number = record.previous_generation
    return generations.read(world, record.stack, number) if number else None


async def _apply_again(world: World, record: RunRecord, generation: Generation, act_of: ActOf) -> list[str]:
    """Apply the generation before, from its pinned images, and wait until what ran then is ready."""
    run = Run(world, Operation.ROLLBACK, record.stack)
    run.generation, run.services = generation, dict(generation.services)
    ran = {
        c["service"] for c in record.before["containers"].values() if c["state"] in ("running", "restarting", "paused")
    }
    steps = undo_steps(run, ran)
    left = []
    try:
        await carry_out(steps, act_of(run))
    except MoorageError as error:
        left.append(f"generation {generation.number} of {record.stack} is not as it was: {error}")
    left += await _remove_new(world, record)
    await in_thread(lambda: _forget_new(world, record, kept=generation))
    return left


def undo_steps(run: Run, ran: set[str]) -> tuple[Step, ...]:
    """Create from the generation before, then start what ran then and wait for it."""
    create = Step(kind=StepKind.CREATE, why="undo")
    others = frozenset(run.services) - ran
    started = planning.start_plan(run.stack, run.operation, run.services, graph.order(run.services), others)
    return (create, *(step.model_copy(update={"needs": (*step.needs, create.id)}) for step in started.steps))


async def _clear(world: World, record: RunRecord, kept: set[str], act_of: ActOf) -> list[str]:
    """Remove the containers that were not there before, then networks, volumes, tags, leases, records of the run."""
    run = Run(world, Operation.DOWN, record.stack)
    run.spared = kept
    observed = await in_thread(lambda: world.engine.observe(record.stack))
    new = {
        c.service for c in observed.containers if c.name not in kept and labels.ours(c.labels, record.stack, world.home)
    }
    steps = tuple(Step(kind=StepKind.REMOVE, service=name, why="undo") for name in sorted(new))
    left = []
    try:
        await carry_out(steps, act_of(run))
    except MoorageError as error:
        left.append(str(error))
    left += await _remove_new(world, record)
    await in_thread(lambda: _forget_new(world, record, kept=None))
    return left


async def _remove_new(world: World, record: RunRecord) -> list[str]:
    """Remove networks and volumes that bear our labels and were not there before."""
    observed = await in_thread(lambda: world.engine.observe(record.stack))
    networks, volumes = _new(world, record, observed)
    left = await _all(*(partial(world.engine.remove_network, name) for name in networks))
    return left + await _all(*(partial(world.engine.remove_volume, name) for name in volumes))


def _new(world: World, record: RunRecord, observed: Observed) -> tuple[list[str], list[str]]:
    before_networks, before_volumes = set(record.before["networks"]), set(record.before["volumes"])

    def is_ours(kind: str, name: str) -> bool:
        return labels.ours(world.engine.owner(kind, name), record.stack, world.home)

    networks = [n for n in observed.networks if n not in before_networks and is_ours("network", n)]
    return networks, [v for v in observed.volumes if v not in before_volumes and is_ours("volume", v)]


def _forget_new(world: World, record: RunRecord, kept: Generation | None) -> None:
    """Take back leases, generation records and image tags that the run added."""
    store, stack = world.store, record.stack
    store.release_run(record.id)
    for generation in store.generations(stack):
        if generation.run == record.id:
            generations.forget(world, stack, generation.number)
    before = set(record.before["tags"]) | ({i.tag for i in kept.images.values()} if kept else set())
    for tag in world.engine.tags(labels.pin_prefix(stack)):
        if tag not in before:
            world.engine.untag(tag)
    if not record.before.get("on_record"):
        generations.forget_all(world, stack)
        store.forget_stack(stack)


async def _all(*calls: partial[None]) -> list[str]:
    """Do all, side by side; what failed, in words."""
    answers = await asyncio.gather(*(in_thread(call) for call in calls), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        if not isinstance(error, EngineError):
            raise error
    return [str(error) for error in errors]
