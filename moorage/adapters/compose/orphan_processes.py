"""Processes left behind by a killed Moorage process, found by their command line or environment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psutil import Process

_LONGEST_S = 5.0
_GRACE_S = 2.0
_POLL_S = 0.02
_SETTLE_S = 0.3
"""The engine still finishes a request sent just before, even if nobody is waiting for it."""


def end_strays(*parts: str) -> int:
    """Kill every process with all these parts in its command line; returns how many, when they are gone.

    A command line is its arguments, each followed by a blank.
    """
    import psutil

    found = [one for one in psutil.process_iter(["cmdline"]) if all(part in _command(one) for part in parts)]
    found = [one for one in found if one.pid != os.getpid()]
    _end(found, signal.SIGKILL, _LONGEST_S)
    if found:
        time.sleep(_SETTLE_S)
    return len(found)


def is_in_a_command(argument: str) -> bool:
    """True: a living process has this argument."""
    import psutil

    found = (one for one in psutil.process_iter(["cmdline"]) if argument in (one.info["cmdline"] or ()))
    return any(map(_lives, found))


def end_bearers(variable: str, value: str) -> int:
    """End every process whose environment has this variable, except our own and its parents; returns how many.

    SIGTERM first, SIGKILL two seconds later. Processes that we may not look at do not count.
    """
    import psutil

    asking = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
    found = [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get(variable) == value]
    found = [one for one in found if one.pid not in asking]
    _end(found, signal.SIGTERM, _GRACE_S)
    _end(found, signal.SIGKILL, _LONGEST_S)
    return len(found)


def _command(process: Process) -> str:
    """Empty: a zombie, or one that we may not look at."""
    return "".join(f"{argument} " for argument in process.info["cmdline"] or ())


def _end(processes: Sequence[Process], number: signal.Signals, longest_s: float) -> None:
    """Send a signal to those that live and wait for their end. Not one that got the pid of one of them since then."""
    import psutil

    for process in filter(_lives, processes):
        with suppress(psutil.Error):
            process.send_signal(number)
    deadline = time.monotonic() + longest_s
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _lives(process: Process) -> bool:
    """False also for a zombie, which does nothing any more. `psutil.wait_procs` would wait until it is reaped."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
