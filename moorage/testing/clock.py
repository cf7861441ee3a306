"""A clock that tests control."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from moorage.interfaces import Clock


class ManualClock(Clock):
    """A clock that moves only when told to."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """The start plus the time that it was advanced by."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """The seconds that it was advanced by."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a negative time."""
        if seconds < 0:
            raise ValueError("time does not run backward")
        self._elapsed_s += seconds
