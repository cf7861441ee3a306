"""What containers use."""

from __future__ import annotations

from datetime import datetime

from moorage.model.base import Frozen


class Sample(Frozen):
    """What the engine has counted for a container up to one moment."""

    at: datetime
    cpu_ns: int
    """CPU time it has used since its start, over all cores."""
    memory_bytes: int
    """Without the file cache that the kernel gives up when asked."""
    memory_limit_bytes: int | None = None
    """Its limit, or the machine's memory. None: the engine does not say."""
    received_bytes: int | None = None
    """None: it has no network of its own."""
    sent_bytes: int | None = None
    processes: int | None = None


class Usage(Frozen):
    """What a container, a service or a stack uses."""

    cpu_percent: float | None = None
    """100: one core. None: nothing runs."""
    memory_bytes: int | None = None
    """None: nothing runs."""
    memory_limit_bytes: int | None = None
    """Of several containers the sum. None: not known."""
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
