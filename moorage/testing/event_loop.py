"""Which calls of a world's adapters block an event loop: they belong into `in_thread`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from moorage.interfaces import World
from moorage.testing.faults import around_every_call


class LoopGuard:
    """Notes each call of an adapter that is made on a thread whose event loop runs."""

    def __init__(self) -> None:
        self.blocked: list[str] = []
        """Those calls, in words."""

    def __call__(self, words: str, call: Callable[[], Any]) -> Any:
        """Make a call; from within a loop, note it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return call()
        self.blocked.append(words)
        return call()

    def guarded(self, world: World) -> World:
        """The same world, watched."""
        return around_every_call(world, self)
