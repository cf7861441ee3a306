"""Before services start: whether there is memory for them, and what is done if there is not. After: what they took."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

from moorage.errors import HomeError, MoorageError
from moorage.interfaces import World
from moorage.model.definition import Config, Service
from moorage.model.event import Action
from moorage.model.state import Observed
from moorage.model.step import Plan
from moorage.model.usage import StackUsage
from moorage.rules import memory
from moorage.rules.memory import Idle, Shortage, Starting
from moorage.work.definitions import generations
from moorage.work.queries.usage import Meter
from moorage.work.runs.run import Run
from moorage.work.threads import in_thread

_POLL_S = 1.0
_BETWEEN_LOOKS_S = 0.5
_VALID = timedelta(days=30)
"""A service may have become smaller: what it took is forgotten when it has taken less for so long."""


async def have_room(run: Run, config: Config, services: Mapping[str, Service], observed: Observed, plan: Plan) -> None:
    """Warn of a lack of memory, wait for it to end, or refuse to begin, as the setting `memory` says.

    Nothing has been touched by then. Raises MemoryShortageError.
    """
    world, how = run.world, run.world.settings.memory
    begun = memory.starting(plan, services, observed)
    if how == "ignore" or not begun:
        return
    look = partial(_shortage, world, run.stack, begun, config)
    found = await in_thread(look)
    if found is None:
        return
    idle = await _idlest(world, found)
    if how == "refuse":
        raise memory.refusal(found, idle)
    told = f"{run.stack}: {memory.words(found)}. {memory.advice(idle)}"
    if how == "warn":
        run.tell(Action.NOTICE, message=told)
        return
    run.tell(Action.NOTICE, message=f"waiting: {told}", waiting="for memory")
    deadline = world.clock.monotonic() + world.settings.memory_wait_s
    while found := await in_thread(look):
        if world.clock.monotonic() >= deadline:
            raise memory.refusal(found, await _idlest(world, found))
        await asyncio.sleep(_POLL_S)
    run.tell(Action.NOTICE, message="there is enough memory now", waiting="")


def _shortage(world: World, stack: str, begun: Mapping[str, Starting], config: Config) -> Shortage | None:
    known, before = dict[str, int](), Config()
    with suppress(HomeError):  # what was seen earlier is a help, and no condition
        known = world.store.peaks(stack)
        generation = generations.current(world, stack)
        before = generation.config if generation else before
    needs = memory.needs(begun, config, before, known)
    free = world.free_bytes() if needs else None  # to ask for it takes a library that a short run need not load
    return None if free is None else memory.shortage(stack, needs, free)


async def _idlest(world: World, found: Shortage) -> tuple[Idle, ...]:
    """Of this home's other stacks. Empty: none runs, or nobody can tell."""
    with suppress(MoorageError):
        stacks = await in_thread(lambda: [one.name for one in world.store.stacks() if one.name != found.stack])
        meter = Meter(world, stacks)
        await meter.look()
        await asyncio.sleep(_BETWEEN_LOOKS_S)
        return memory.idlest(await meter.look(), found.bytes)
    return ()


def learn(world: World, usages: Sequence[StackUsage]) -> None:
    """Remember what services were seen to take. It only helps, so it fails nothing."""
    with suppress(HomeError):
        for one in usages:
            if seen := memory.peaks_of(one):
                world.store.note_peaks(one.stack, seen, world.clock.now(), valid=_VALID)
