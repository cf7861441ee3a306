"""Processes left behind by a killed Moorage process, found by their command line or environment."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_LONGEST_S = 5.0
_GRACE_S = 2.0
_POLL_S = 0.02
_SETTLE_S = 0.3
"""The engine still finishes a request sent just before, even if nobody is waiting for it."""


def end_strays(*parts: str) -> int:
    """Kill every process whose command line contains all these parts; returns how many, when they are gone."""
    found = [pid for pid, command in _commands() if all(part in command for part in parts) and pid != os.getpid()]
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _LONGEST_S
    while any(_lives(pid) for pid in found) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if found:
        time.sleep(_SETTLE_S)
    return len(found)


def end_bearers(variable: str, value: str) -> int:
    """End every process whose environment has this variable, except our own and its parents; returns how many.

    SIGTERM first, SIGKILL two seconds later. Does nothing on machines without `/proc`.
    """
    asking = set(_ancestors())
    wanted = f"{variable}={value}".encode()
    found = [pid for pid, names in _environments() if wanted in names and pid not in asking]
    for number, longest_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _LONGEST_S)):
        for pid in filter(_lives, found):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        deadline = time.monotonic() + longest_s
        while any(map(_lives, found)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    return len(found)


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    """(pid, initial environment) of all processes that we may read."""
    for entry in os.scandir(_PROC) if _PROC.is_dir() else ():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), Path(entry.path, "environ").read_bytes().split(b"\0")


def _ancestors() -> Iterator[int]:
    """This process, its parent, and so on."""
    pid = os.getpid()
    while pid > 0:
        yield pid
        try:
            after_name = Path(_PROC, str(pid), "stat").read_text(errors="replace").rpartition(")")[2]
        except OSError:
            return
        pid = int(after_name.split()[1])


def _commands() -> Iterator[tuple[int, str]]:
    """(pid, command line with spaces between arguments) of all processes that we may read."""
    if not (_PROC / "self" / "cmdline").exists():  # macOS
        said = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
        for line in said.splitlines():
            pid, _, command = line.strip().partition(" ")
            yield int(pid), command
        return
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError):
                command = Path(entry.path, "cmdline").read_bytes().decode(errors="replace")
                yield int(entry.name), command.replace("\0", " ")


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(_PROC, str(pid), "cmdline").read_bytes() != b""  # empty: a zombie, which does nothing anymore
    if _PROC.exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
