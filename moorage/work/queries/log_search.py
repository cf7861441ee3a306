"""Searches the log of a container for a pattern, piece by piece: however long it is, little of it is in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moorage.interfaces import World
from moorage.model.log import LogSpan
from moorage.model.state import Container
from moorage.rules.patterns import line_pattern, matchable

_PIECE = 1 << 20
"""How much is searched at a time."""
_OVERLAP = 64 << 10
"""How much of a piece is searched again with the next: what a pattern matches may have several lines."""


def found(world: World, container: Container, pattern: str, timeout_s: float) -> bool:
    """Whether anything that it wrote since its last end matches: what an earlier start wrote says nothing of this one.

    Gives up after `timeout_s`, as if nothing matched: a service may write faster than anybody reads.
    """
    since_ns = int(container.finished_at.timestamp() * 1e6) * 1000 if container.finished_at else None
    close: list[Callable[[], None]] = []
    records = world.streams.log(container.id, LogSpan(since_ns=since_ns), on_open=close.append)
    end = world.clock.monotonic() + timeout_s
    search = Search(line_pattern(pattern, "log"))
    try:
        for number, record in enumerate(records):
            if search.matches(record.data):
                return True
            if number % 64 == 0 and world.clock.monotonic() > end:
                return False
        return search.matches_rest()
    finally:
        for one in close:
            one()


class Search:
    """A pattern that is looked for in a text that comes in pieces."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern
        self._pool = bytearray()

    def matches(self, data: bytes) -> bool:
        """Add a piece. True: the pattern is in what has come. It may be there all the same: `matches_rest` looks."""
        self._pool += data
        if len(self._pool) < _PIECE:
            return False
        whole = self._pool.rfind(b"\n") + 1 or len(self._pool)  # `$` is no end within a line
        if self._is_in(self._pool[:whole]):
            return True
        start = self._pool.find(b"\n", max(0, whole - _OVERLAP)) + 1 or whole
        del self._pool[: min(start, whole)]
        return False

    def matches_rest(self) -> bool:
        """Look at what came last."""
        return self._is_in(self._pool)

    def _is_in(self, text: bytearray) -> bool:
        return self._pattern.search(matchable(text.decode(errors="replace"))) is not None
