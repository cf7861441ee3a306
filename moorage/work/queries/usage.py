"""Measures the resource usage of stacks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from moorage.errors import EngineError, EngineUnavailableError, MoorageError, said
from moorage.interfaces import World
from moorage.model.event import Action, Event
from moorage.model.state import Container
from moorage.model.usage import Sample, StackUsage
from moorage.rules import engines, usage
from moorage.work.threads import in_thread

_RUNNING = ("running", "paused")


class Meter:
    """Measures stacks again and again: CPU is what was used between two looks."""

    def __init__(self, world: World, stacks: Sequence[str], services: Sequence[str] = ()) -> None:
        """`services`: only these; empty: all."""
        self._world = world
        self._stacks = stacks
        self._services = services
        self._noted: set[str] = set()
        self._before: dict[str, Sample | None] | None = None

    async def look(self) -> list[StackUsage]:
        """What is used since the look before; the first one knows nothing of CPU.

        Raises UnsupportedByBackendError: the engine measures nothing.
        """
        if self._before is None:
            await in_thread(self._refuse_without_limits)
        asked = (self._containers(stack) for stack in self._stacks)
        found = self._told(await asyncio.gather(*asked, return_exceptions=True))
        running = [one for containers in found for one in containers if one.state in _RUNNING]
        samples = await asyncio.gather(*(in_thread(partial(self._sample, one.id)) for one in running))
        now = dict(zip((one.id for one in running), samples, strict=True))
        # Without a limit of its own, a container's is the machine's memory.
        machine = max((s.memory_limit_bytes or 0 for s in samples if s), default=0) or None
        before, self._before = self._before or {}, now
        return [
            usage.of_stack(stack, containers, before, now, machine)
            for stack, containers in zip(self._stacks, found, strict=True)
        ]

    def _refuse_without_limits(self) -> None:
        engine = self._world.engine
        if not engine.has_limits():
            raise engines.refuse_measuring(engine.product())

    def _told(self, found: Sequence[list[Container] | BaseException]) -> list[list[Container]]:
        """One stack that cannot be looked at hides no other. If there is only one, or no engine, that is the answer."""
        for one, stack in zip(found, self._stacks, strict=True):
            of_all = len(found) == 1 or isinstance(one, EngineUnavailableError) or not isinstance(one, EngineError)
            if isinstance(one, BaseException) and of_all:
                raise one
            if isinstance(one, BaseException) and stack not in self._noted:
                self._noted.add(stack)
                at, message = self._world.clock.now(), f"{stack} is left out: {said(one)}"
                self._world.emit(Event(at=at, stack="", action=Action.NOTICE, message=message))
        return [[] if isinstance(one, BaseException) else one for one in found]

    async def _containers(self, stack: str) -> list[Container]:
        observed = await in_thread(lambda: self._world.engine.observe(stack))
        return [one for one in observed.containers if not self._services or one.service in self._services]

    def _sample(self, container: str) -> Sample | None:
        try:
            return self._world.streams.sample(container)
        except MoorageError:  # it is just being started or removed: the next look says more
            return None
