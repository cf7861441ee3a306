"""Processes that outlive the command that started them, and are ended only if they are certainly ours.

A pid alone proves nothing: after a crash the kernel may reuse it. A record therefore also holds the start time of the
process, and a process with another start time is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from moorage import bounded
from moorage.adapters.files import PRIVATE_FILE, home_errors, private_folder
from moorage.adapters.patience import Patience
from moorage.model.base import Frozen

_POLL_S = 0.02
_KILL_WAIT_S = 5.0
_HAS_PROC = Path("/proc/self/stat").exists()
"""Else (macOS) psutil is asked. On Linux its start times move with the clock: docs/decisions.md."""
_DEAD_STATES = "ZX"
_START_TIME_FIELD = 19
"""Of /proc/PID/stat, counted behind the name in parentheses (proc(5): field 22)."""

_STARTED: list[subprocess.Popen[bytes]] = []
"""Our own children: Python warns if one is dropped while it is running, and zombies must be reaped."""


class ProcessRecord(Frozen):
    """A process that we started."""

    pid: int
    identity: str
    """Boot and start time. Empty: it ended before we could look."""
    since: datetime


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path, umask: int = -1
) -> ProcessRecord:
    """Start a process in a new session, without input, its output in `log` (an existing log is renamed to `.1`).

    In a session of its own, it does not receive the terminal's Ctrl-C. `umask` -1: ours. Raises HomeError.
    """
    with home_errors(log):
        private_folder(log.parent)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    try:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=umask,
        )
    finally:
        os.close(output)
    _STARTED.append(process)
    return ProcessRecord(pid=process.pid, identity=identity(process.pid) or "", since=datetime.now(UTC))


NOBODY = ProcessRecord(pid=0, identity="", since=datetime.fromtimestamp(0, UTC))
"""Of a process that is about to start: its record is written first."""


def this_process() -> ProcessRecord:
    """A record of the process that asks."""
    return ProcessRecord(pid=os.getpid(), identity=identity(os.getpid()) or "", since=datetime.now(UTC))


def identity(pid: int) -> str | None:
    """Tells this process from a later one with the same pid. None: there is no such process, or it has ended."""
    if _HAS_PROC:
        return _linux_identity(pid)
    import psutil

    with suppress(psutil.Error):
        found = psutil.Process(pid)
        return None if found.status() == psutil.STATUS_ZOMBIE else str(found.create_time())
    return None


def alive(record: ProcessRecord | None) -> bool:
    """True if the process is running and is the one that we started."""
    return record is not None and bool(record.identity) and identity(record.pid) == record.identity


def end(record: ProcessRecord, grace_s: float) -> bool:
    """Send SIGTERM, after `grace_s` SIGKILL; returns when it is gone. True: SIGTERM was enough (or it was gone).

    On a busy machine it has longer.
    """
    send(record, signal.SIGTERM)
    if gone(record, grace_s):
        return True
    send(record, signal.SIGKILL)
    gone(record, _KILL_WAIT_S)
    return False


def send(record: ProcessRecord, number: signal.Signals) -> None:
    """Send a signal, if the process is still the one that we started."""
    if alive(record):
        with suppress(ProcessLookupError):
            os.kill(record.pid, number)


def gone(record: ProcessRecord, timeout_s: float) -> bool:
    """Wait until the process has ended. False: it is still running after `timeout_s`, on a busy machine longer."""
    patience = Patience(f"process {record.pid} has not ended", timeout_s)
    while alive(record):
        if not patience.lasts():
            return False
        time.sleep(_POLL_S)
    _reap()
    return True


def children(record: ProcessRecord) -> tuple[ProcessRecord, ...]:
    """Direct child processes that are still running."""
    if not alive(record):
        return ()
    import psutil

    now = datetime.now(UTC)
    with suppress(psutil.Error):
        found = ((child.pid, identity(child.pid)) for child in psutil.Process(record.pid).children())
        return tuple(ProcessRecord(pid=pid, identity=told, since=now) for pid, told in found if told)
    return ()


def memory_bytes(pid: int) -> int | None:
    """Resident memory. None: it cannot be read."""
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return None


def _reap() -> None:
    _STARTED[:] = [process for process in _STARTED if process.poll() is None]


def _linux_identity(pid: int) -> str | None:
    try:
        text = bounded.text_of(Path(f"/proc/{pid}/stat"))
    except OSError:
        return None
    # The name in parentheses may hold anything, also ")"; the fields begin behind the last one.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in _DEAD_STATES else f"{_boot()}/{fields[_START_TIME_FIELD]}"


def _boot() -> str:
    with suppress(OSError):
        return bounded.text_of(Path("/proc/sys/kernel/random/boot_id")).strip()
    return ""
