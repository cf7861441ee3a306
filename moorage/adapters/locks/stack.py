"""The lock of a stack: a kernel lock, so that a crash frees it. A file next to it names the holder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from moorage.adapters.files import LocalFiles, home_errors, private_folder
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import BusyError, HomeError
from moorage.interfaces import Lock

if TYPE_CHECKING:
    from moorage.adapters.locks.machine import MachineLock

_POLL_S = 0.02
_LEAST_WAIT_S = 0.1
_UNSIGNED_WAIT_S = 1.0
"""`held` in another process takes the lock for an instant, without a name; so even "do not wait" tries repeatedly."""


class StackLock(Lock):
    """The lock of one stack, `<folder>/<stack>.lock`. Raises HomeError for a name whose file would lie elsewhere.

    One object holds it once at a time; it may be released from another thread than the one that acquired it. Child
    processes do not inherit it.
    """

    def __init__(self, folder: Path, stack: str, guard: MachineLock | None = None) -> None:
        if stack in ("", ".", "..") or "/" in stack or "\0" in stack:  # a file that goes when the lock is given back
            raise HomeError(f"{stack[:60]!r} is not a name that a lock can have", path=str(folder))
        self.stack = stack
        self._guard = guard
        """Lock of the same name for other homes on the engine. None: other homes are not considered."""
        self._elsewhere = False
        """True if the last attempt found it held by another home."""
        self.path = folder / f"{stack}.lock"
        self._files = LocalFiles(folder)
        self._holder_name = f"{stack}.holder"
        self._lock = KernelLock(self.path)
        self._ours = False

    def acquire(self, operation: str, timeout_s: float, on_wait: Callable[[str], None] | None = None) -> Self:
        """`timeout_s` 0: do not wait.

        `on_wait` gets a sentence that names the holder, and another one when the holder changes. Raises BusyError
        (fields stack, operation, pid, since), HomeError.
        """
        began = time.monotonic()
        said = ""
        while not self._take():
            sentence = self._sentence()
            least_s = _LEAST_WAIT_S if self._holder()["pid"] else _UNSIGNED_WAIT_S
            if time.monotonic() - began >= max(timeout_s, least_s):
                raise self._busy(sentence)
            if on_wait and timeout_s > 0 and sentence != said and time.monotonic() - began >= _LEAST_WAIT_S:
                on_wait(sentence)
                said = sentence
            time.sleep(_POLL_S)
        self._sign(operation)
        return self

    def release(self) -> None:
        """Give the lock back; no effect if this object does not hold it."""
        ours, self._ours = self._ours, False
        if ours:
            if self._guard:
                self._guard.release()
            # Remove the name first, then free the lock: the next holder writes its own name.
            with suppress(Exception):
                self._files.remove(self._holder_name)
            self._lock.release(remove=True)  # each name that there ever was would else leave a file

    def held(self) -> dict[str, Any] | None:
        """Who holds the lock now: `operation`, `pid`, `since` (None where not known). None: nobody. Does not wait."""
        return self._holder() if self._lock.held() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _take(self) -> bool:
        self._elsewhere = False
        with home_errors(self.path):
            private_folder(self.path.parent)
            if not self._lock.take():
                return False
        if self._guard and not self._guard.take():
            self._elsewhere = True
            self._lock.release(remove=True)
            return False
        self._ours = True
        return True

    def _sign(self, operation: str) -> None:
        holder = {"operation": operation, "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            self._files.write(self._holder_name, json.dumps(holder))
        except BaseException:
            self.release()
            raise

    def _holder(self) -> dict[str, Any]:
        holder: dict[str, Any] = {"operation": None, "pid": None, "since": None}
        with suppress(ValueError, TypeError):
            holder |= json.loads(self._files.read(self._holder_name) or "{}")
        return holder

    def _sentence(self) -> str:
        if self._elsewhere and self._guard:
            other = self._guard.holder()
            who = f" (pid {other})" if other else ""
            return f"stack {self.stack} is held by a run of another $MOORAGE_HOME on this engine{who}"
        holder = self._holder()
        pid = f" (pid {holder['pid']})" if holder["pid"] else ""
        since = f" since {holder['since']}" if holder["since"] else ""
        return f"stack {self.stack} is held by `{holder['operation'] or 'another run'}`{pid}{since}"

    def _busy(self, sentence: str) -> BusyError:
        return BusyError(
            sentence,
            hint="Try again later, or wait longer: --lock-timeout SECONDS, on the hub MOORAGE_HUB_LOCK_TIMEOUT_S.",
            stack=self.stack,
            **self._holder(),
        )
