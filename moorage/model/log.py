"""Log entries and lines. Plain tuples, because there may be a hundred thousand log lines per second."""

from __future__ import annotations

from typing import NamedTuple


class LogRecord(NamedTuple):
    """One entry of a container's log, as the engine keeps it."""

    at_ns: int
    """When the engine read it, in nanoseconds of the Unix epoch."""
    stream: str
    """`stdout` or `stderr`; with a terminal always `stdout`."""
    data: bytes
    """A line with its line end; without one, it continues in the next entry of its stream (an entry has 16 KiB)."""


class LogSpan(NamedTuple):
    """Which part of a log."""

    tail: int | None = None
    """How many entries from the end. None: all."""
    since_ns: int | None = None
    """None: from the beginning."""
    until_ns: int | None = None
    """None: to the end."""


class LogLine(NamedTuple):
    """One line of a stack's log."""

    at_ns: int
    service: str
    number: int
    """Number of the replica, from 1."""
    container: str
    """Name of the container."""
    stream: str
    text: str
    """Without line end; invalid UTF-8 is replaced."""
