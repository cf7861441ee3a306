"""The clock of this machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from moorage.interfaces import Clock


class SystemClock(Clock):
    """The operating system's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
