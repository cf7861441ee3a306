"""A timeline: how long everything in a start took, and what it waited for."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from moorage.model.base import Frozen


class Phase(StrEnum):
    """What a service or the stack is doing."""

    WAIT = "waiting"
    IMAGE = "image"
    STOP = "stopping"
    LEASE = "ports"
    CREATE = "creating"
    START = "starting"
    READY = "becoming ready"
    REMOVE = "removing"


class Segment(Frozen):
    """A period of one row. Seconds since the run began."""

    phase: Phase
    began_s: float
    ended_s: float
    step: str = ""
    """Its step. Empty: it is waiting."""
    on: str = ""
    """What it waits for: the step that ended last. Empty: it does not wait, or not for a particular step."""
    failed: bool = False
    critical: bool = False
    """True: if it had been shorter, the whole start would have been."""

    @property
    def took_s(self) -> float:
        """Its duration."""
        return self.ended_s - self.began_s


class Row(Frozen):
    """One service; or, without a name, the stack as a whole."""

    service: str
    segments: tuple[Segment, ...]

    @property
    def critical(self) -> bool:
        """True: it is part of the critical path."""
        return any(segment.critical for segment in self.segments)


class Slow(Frozen):
    """A service that took clearly longer than usual."""

    service: str
    took_s: float
    usual_s: float
    """Median of its last starts."""
    starts: int
    """Number of those starts."""


class Chart(Frozen):
    """`timeline --json`."""

    stack: str
    operation: str
    run: str
    at: datetime
    outcome: str
    generation: int | None = None
    whole_s: float
    rows: tuple[Row, ...]
    critical: tuple[str, ...]
    """Steps of the critical path, in order."""
    slow: tuple[Slow, ...] = ()
