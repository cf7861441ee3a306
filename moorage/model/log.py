"""What containers write, and what they use. Plain tuples: of log lines there may be a hundred thousand a second."""

from __future__ import annotations

from typing import NamedTuple


class LogRecord(NamedTuple):
    """One entry of a container's log, as the engine keeps it."""

    at_ns: int
    """When the engine read it, in nanoseconds of the Unix epoch."""
    stream: str
    """`stdout` or `stderr`; with a terminal always `stdout`."""
    data: bytes
    """A line with its end; without it, one that goes on in the next entry of its stream (16 KiB are one entry)."""


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
    """Of the replica, from 1."""
    container: str
    """Its name."""
    stream: str
    text: str
    """Without line end; what is no UTF-8 is replaced."""
