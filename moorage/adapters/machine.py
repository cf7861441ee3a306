"""What this machine has to give at the moment."""

from __future__ import annotations

import os


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes() -> int:
    """Memory that could be had without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)
