"""The lock of a stack's name on one engine, for all homes and users of this machine that may use that engine.

It is a file in a shared directory. A user who may not use the engine can neither open it nor replace it: we trust only
a file that belongs to us or to root, or that has the group of the engine's socket and is closed to all others. If no
such file can be created, there is no such lock: a stack's name is then protected within its own home only.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

FOLDERS = (Path("/run/lock"), Path(tempfile.gettempdir()))
_UNIX = "unix://"
_MODE = 0o660
_TRIES = 20
"""How often the file may be gone again when we get its lock, because its last holder has removed it."""


class MachineLock:
    """One name on one engine, by the engine's address."""

    def __init__(self, address: str, stack: str, folders: tuple[Path, ...] = FOLDERS) -> None:
        socket = Path(address.removeprefix(_UNIX)).resolve() if address.startswith(_UNIX) else None
        self._socket = socket
        key = sha256(f"{socket or address}\n{stack}".encode()).hexdigest()[:24]
        self._paths = [folder / f"moorage-{key}.lock" for folder in folders]
        self._held: tuple[Path, int] | None = None

    def take(self) -> bool:
        """False: another home has it. True too if there can be no such lock. Does not wait."""
        for path in self._paths:
            try:
                return self._take(path)
            except OSError:  # read-only, full, an untrusted file: try the next folder
                continue
        return True

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        held, self._held = self._held, None
        if held:
            # Removed before the lock is freed: a process that was waiting for it notices that the file is gone.
            with suppress(OSError):
                held[0].unlink()
            os.close(held[1])

    def holder(self) -> int | None:
        """Pid of the process that has it, according to the kernel. None: nobody, or it cannot be seen."""
        for path in self._paths:
            with suppress(OSError, ValueError, IndexError):
                inode = path.stat(follow_symlinks=False).st_ino
                for line in Path("/proc/locks").read_text().splitlines():
                    words = line.split()
                    if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                        return int(words[4])
        return None

    def _take(self, path: Path) -> bool:
        for _ in range(_TRIES):
            descriptor = self._open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if _is_at(descriptor, path):
                self._held = path, descriptor
                return True
            os.close(descriptor)
        return False

    def _open(self, path: Path) -> int:
        """Open the file; create it if needed. Raises OSError, also for a file that cannot be trusted."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            self._make(path)
            descriptor = os.open(path, flags)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not self._trusted(found):
            os.close(descriptor)
            raise PermissionError(path)
        return descriptor

    def _make(self, path: Path) -> None:
        """Create the file with its final owner, group and mode, because two processes may do this at the same time."""
        descriptor, made = tempfile.mkstemp(prefix=f"{path.name}-", dir=path.parent)
        try:
            group = self._group()
            if group is not None:
                with suppress(OSError):  # not our group: then the lock works for this user's homes only
                    os.fchown(descriptor, -1, group)
                    os.fchmod(descriptor, _MODE)
            with suppress(FileExistsError):
                os.link(made, path)
        finally:
            os.close(descriptor)
            Path(made).unlink()

    def _trusted(self, found: os.stat_result) -> bool:
        if found.st_uid in (0, os.geteuid()):
            return True
        return found.st_gid == self._group() and not found.st_mode & stat.S_IRWXO

    def _group(self) -> int | None:
        """Group of the users who may use the engine. None: it has no socket file here."""
        try:
            return self._socket.stat().st_gid if self._socket else None
        except OSError:
            return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
