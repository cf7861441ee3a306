"""Processes that live for a hub's folder: known to it even if the command that started them was killed.

A command writes the record first, then starts the process, which takes a lock of the folder and enters itself there. So
a killed command leaves a process that the next one finds: by the record, or by who holds the lock. A process that
nobody waits for any more, because the record is gone, ends itself; so does one whose folder has been removed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from moorage import bounded
from moorage.adapters.locks.kernel import KernelLock
from moorage.adapters.patience import patient_s
from moorage.hub import process
from moorage.hub.process import ProcessRecord

_LOCK_TIMEOUT_S = 10.0
"""For the last one of the folder to be gone altogether."""
_LOOK_S = 5.0


def move_in(path: Path) -> KernelLock | None:
    """Take the lock of a folder until this process ends, signed with who has it. None: another one has it."""
    lock = KernelLock(path)
    if not lock.take(_LOCK_TIMEOUT_S) and not lock.take(patient_s(_LOCK_TIMEOUT_S) - _LOCK_TIMEOUT_S):
        return None
    path.write_text(process.this_process().model_dump_json(), encoding="utf-8")
    return lock


def resident(path: Path) -> ProcessRecord | None:
    """The living process that has moved in. None: there is none, or it has not signed yet."""
    if not KernelLock(path).held():
        return None
    with suppress(OSError, ValidationError):
        found = ProcessRecord.model_validate_json(bounded.bytes_of(path, bounded.SETTINGS_BYTES))
        return found if process.alive(found) else None
    return None


def is_taken(path: Path) -> bool:
    """Whether somebody has moved in, signed or not."""
    return KernelLock(path).held()


def evict(path: Path, grace_s: float) -> None:
    """End the process that has moved in, if no record led to it."""
    if found := resident(path):
        process.end(found, grace_s)


def leave_with(path: Path, *, look_s: float = _LOOK_S, leave: Callable[[], None] | None = None) -> None:
    """From now on a thread looks whether the lock's file is still there; when it is gone, this process is asked to end.

    `leave` None: by SIGTERM.
    """
    mine = path.stat().st_ino

    def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def watch() -> None:
        while _is(path, mine):
            time.sleep(look_s)
        (leave or end)()

    threading.Thread(target=watch, name="residence", daemon=True).start()


def _is(path: Path, inode: int) -> bool:
    try:
        return path.stat().st_ino == inode
    except FileNotFoundError:
        return False
    except OSError:  # it cannot be told now
        return True
