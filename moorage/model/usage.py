"""Resource usage of containers."""

from __future__ import annotations

from datetime import datetime

from moorage.model.base import Frozen


class Sample(Frozen):
    """The engine's counters for a container at one moment."""

    at: datetime
    cpu_ns: int
    """CPU time used since its start, over all cores."""
    memory_bytes: int
    """Without file cache, which the kernel can reclaim."""
    memory_limit_bytes: int | None = None
    """Its limit, or the machine's memory. None: not known."""
    received_bytes: int | None = None
    """None: it has no network of its own."""
    sent_bytes: int | None = None
    processes: int | None = None


class Usage(Frozen):
    """Resource usage of a container, a service or a stack."""

    cpu_percent: float | None = None
    """100: one core. None: nothing runs."""
    memory_bytes: int | None = None
    """None: nothing runs."""
    memory_limit_bytes: int | None = None
    """The sum, for several containers. None: not known."""
    received_bytes: int | None = None
    """None: nothing runs, or it has no network of its own."""
    sent_bytes: int | None = None
    processes: int | None = None
    restarts: int = 0


class ServiceUsage(Frozen):
    """One service."""

    state: str
    total: Usage
    containers: dict[str, Usage]
    """By name."""


class StackUsage(Frozen):
    """`stats --json`."""

    stack: str
    total: Usage
    services: dict[str, ServiceUsage]
