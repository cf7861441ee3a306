"""The lock of a stack's name on one engine, for all homes and users of this machine that may use that engine.

It is a file in a shared directory. A user who may not use the engine can neither open it nor replace it: we trust only
a file that belongs to us or to root, or that has the group of the engine's socket and is closed to all others. If no
such file can be created, there is no such lock: a stack's name is then protected within its own home only.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from moorage.adapters.locks.kernel import TRIES, KernelLock, open_existing

FOLDERS = (Path("/run/lock"), Path(tempfile.gettempdir()))
_UNIX = "unix://"
_MODE = 0o660


class MachineLock:
    """One name on one engine, by the engine's address."""

    def __init__(self, address: str, stack: str, folders: tuple[Path, ...] = FOLDERS) -> None:
        socket = Path(address.removeprefix(_UNIX)).resolve() if address.startswith(_UNIX) else None
        self._socket = socket
        key = sha256(f"{socket or address}\n{stack}".encode()).hexdigest()[:24]
        self._locks = [KernelLock(folder / f"moorage-{key}.lock", self._open) for folder in folders]

    def take(self) -> bool:
        """False: another home has it. True also where there can be no such lock. Does not wait."""
        for lock in self._locks:
            try:
                return lock.take()
            except OSError:  # read-only, full, a stranger's file: the next place, or none
                continue
        return True

    def release(self) -> None:
        """Give it back; no effect where it is not held."""
        for lock in self._locks:
            lock.release(remove=True)

    def holder(self) -> int | None:
        """Process that has it, by the kernel's list. None: nobody, or it cannot be seen."""
        return next((pid for lock in self._locks if (pid := lock.holder())), None)

    def _open(self, path: Path) -> int:
        """The file, made if need be. Raises OSError, also for one that is not to be trusted."""
        descriptor = self._opened(path)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not self._trusted(found):
            os.close(descriptor)
            raise PermissionError(path)
        return descriptor

    def _opened(self, path: Path) -> int:
        """Its last holder may remove it just when it was made: that is no reason to take another folder's."""
        for _ in range(TRIES):
            try:
                return open_existing(path)
            except FileNotFoundError:
                self._make(path)
        return open_existing(path)

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
