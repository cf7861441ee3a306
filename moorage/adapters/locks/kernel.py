"""An exclusive lock on a file, kept by the kernel: free the moment its process ends, however it ends.

Why not `filelock`: docs/decisions.md.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from moorage import bounded
from moorage.adapters.files import PRIVATE_FILE

_POLL_S = 0.01
TRIES = 20
"""How often a file may be gone again by the time its lock is ours: its last holder has tidied up."""


def open_or_make(path: Path) -> int:
    """The file, made if need be, for its owner only. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, PRIVATE_FILE)


def open_existing(path: Path) -> int:
    """The file, if there is one. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


class KernelLock:
    """The lock of the file that is at `path` now; one object holds it once at a time.

    It may be released by another thread than the one that took it. Child processes do not have it, forked ones only
    until it is released. `opener` gives a descriptor of the file and decides what may be trusted.
    """

    def __init__(self, path: Path, opener: Callable[[Path], int] = open_or_make) -> None:
        self.path = path
        self._opener = opener
        self._descriptor: int | None = None

    def take(self, timeout_s: float = 0.0) -> bool:
        """True: it is ours now. False: another has it, after `timeout_s` still. Raises OSError: no lock can be had."""
        deadline = time.monotonic() + timeout_s
        while not self._take():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def release(self, *, remove: bool = False) -> None:
        """Give it back; no effect if this object does not hold it. `remove`: the file goes, too."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if remove:  # before the lock is free: whoever takes it then sees that this is not the file any more
            with suppress(OSError):
                self.path.unlink()
        try:
            # Closing is not enough: a process forked in the meantime shares the descriptor, and would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def leave(self) -> None:
        """In a forked process: it stays the lock of the one that has taken it, whether that lives on or not."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def held(self) -> bool:
        """True: somebody has it now, perhaps we. The file is not made for this question."""
        try:
            descriptor = open_existing(self.path)
        except OSError:
            return False  # nobody has ever taken it
        try:
            return not _flock(descriptor, fcntl.LOCK_SH)  # shared, so that two who look do not see each other
        except OSError:
            return True  # it cannot be told; whoever wants the lock will hear why
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The process that has it, by the kernel's list. None: nobody, or it cannot be seen."""
        with suppress(OSError, ValueError, IndexError):
            inode = self.path.stat(follow_symlinks=False).st_ino
            for line in bounded.text_of(Path("/proc/locks"), bounded.REPORT_BYTES).splitlines():
                words = line.split()
                if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                    return int(words[4])
        return None

    def _take(self) -> bool:
        for _ in range(TRIES):
            descriptor = self._opener(self.path)
            try:
                locked = _flock(descriptor, fcntl.LOCK_EX)
                if locked and _is_at(descriptor, self.path):
                    self._descriptor = descriptor
                    return True
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)
            if not locked:
                return False
        return False


def _flock(descriptor: int, kind: int) -> bool:
    """False: another has it. Some network file systems say so with EACCES. Raises OSError."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
