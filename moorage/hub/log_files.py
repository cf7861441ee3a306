"""The hub's log files: kept from growing while processes write to them, and read from their end.

Server, worker and all flow runs write through one inherited descriptor each, so a file that is renamed would be written
on. It is therefore copied and emptied in its place. The descriptors are opened for appending: the kernel puts the next
line at the new end, whoever writes it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moorage.adapters.files import PRIVATE_FILE, home_errors
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import HomeError
from moorage.hub.hub_home import HubHome
from moorage.model.finding import Finding, Leftover

_PAUSE_S = 5.0
_BLOCK = 1 << 16
_KEPT_TIMES = 10
"""Of the limit, so much of what was written faster than anybody looked is kept when a log is rotated."""
_MOST_BYTES = 1 << 24
"""So much of the end of a log is read at most, however many lines are asked for, and however long they are."""


def earlier(log: Path) -> Path:
    """Where the previous content of a log goes when it is rotated."""
    return log.with_name(f"{log.name}.1")


def too_large(folder: HubHome, limit_bytes: int) -> tuple[Path, ...]:
    """The logs of server and worker that have reached the limit."""
    return tuple(log for log in (folder.server_log, folder.worker_log) if _size(log) >= limit_bytes)


def rotate(log: Path, limit_bytes: int) -> None:
    """Empty a log that has reached the limit; what was in it takes the place of what was before. Raises HomeError.

    No effect while another process does it. What is written between the copy and the emptying is lost: no more than
    what is printed in a millisecond.
    """
    with home_errors(log), _alone(log) as ours:
        # Looked at again: another process may have been here in the meantime.
        if ours and _size(log) >= limit_bytes:
            _copy(log, earlier(log), limit_bytes)
            os.truncate(log, 0)


def swept(folder: HubHome, limit_bytes: int, *, dry_run: bool) -> list[Finding]:
    """For `sweep`: the logs that are too large, and what became of them. `dry_run`: only look."""
    found = []
    for log in too_large(folder, limit_bytes):
        what = f"{log.name}, {_size(log) >> 20} MiB"
        error = None
        if not dry_run:
            try:
                rotate(log, limit_bytes)
            except HomeError as problem:
                error = str(problem)
        found.append(Finding(kind=Leftover.HUB_LOGS, stack="", what=what, swept=not (dry_run or error), error=error))
    return found


def keep_small(folder: HubHome, limit_bytes: int) -> None:
    """From now on a thread of this process looks after the logs, every few seconds."""
    threading.Thread(target=_keep_small, args=(folder, limit_bytes), name="log files", daemon=True).start()


def _keep_small(folder: HubHome, limit_bytes: int) -> None:
    while True:
        for log in too_large(folder, limit_bytes):
            with suppress(HomeError):  # a full disk, which `sweep` tells of; the next time it may be well
                rotate(log, limit_bytes)
        time.sleep(_PAUSE_S)


def tail(log: Path, lines: int) -> tuple[str, ...]:
    """The last lines of a log; only they are read. Empty: there is none."""
    try:
        with log.open("rb") as file:
            content = _end(file.fileno(), lines)
    except OSError:
        return ()
    return tuple(content.decode(errors="replace").splitlines()[-lines:]) if lines > 0 else ()


def last_lines(log: Path, lines: int) -> tuple[str, ...]:
    """The same, continued with lines from before the last rotation."""
    found = tail(log, lines)
    return (*tail(earlier(log), lines - len(found)), *found)


def _end(descriptor: int, lines: int) -> bytes:
    """As much of the end of a file as holds so many whole lines."""
    begin = os.fstat(descriptor).st_size
    blocks: list[bytes] = []
    newlines = 0
    first = max(0, begin - _MOST_BYTES)
    while begin > first and newlines <= lines:  # one more than lines: that which ends the line before them
        size = min(_BLOCK, begin - first)
        begin -= size
        block = os.pread(descriptor, size, begin)
        newlines += block.count(b"\n")
        blocks.append(block)
    return b"".join(reversed(blocks))


def _copy(log: Path, target: Path, limit_bytes: int) -> None:
    """The end of it: what was written faster than anybody looked must not be on the disk twice."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with log.open("rb") as source, open(unfinished, "wb", opener=_private) as copy:
            source.seek(max(0, os.fstat(source.fileno()).st_size - _KEPT_TIMES * limit_bytes))
            shutil.copyfileobj(source, copy)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


@contextmanager
def _alone(log: Path) -> Iterator[bool]:
    """False: another process empties the log just now."""
    lock = KernelLock(log.with_name(f"{log.name}.lock"))
    ours = lock.take()
    try:
        yield ours
    finally:
        lock.release()


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
