"""SIGKILL to processes that are not children of the test, and so cannot be waited for."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from moorage.hub import process

_PATIENCE_S = 240.0


def kill_9(*pids: int) -> None:
    """Returns when they have ended: on a busy machine the signal is delivered, and memory given back, a while later."""
    before = {pid: process.identity(pid) for pid in pids}
    for pid in pids:
        with suppress(ProcessLookupError):  # it may end with another one of them
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE_S
    while left := [pid for pid, known in before.items() if known and process.identity(pid) == known]:
        assert time.monotonic() < deadline, f"killed, and still there: {left}"
        time.sleep(0.01)
