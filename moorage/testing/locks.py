"""Locks of stacks in memory, free the moment their process ends, as those of the kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moorage.errors import BusyError
from moorage.interfaces import Clock, Line, Lock

_POLL_S = 0.02


@dataclass
class _Held:
    owner: object
    handle: MemoryLock
    facts: dict[str, object]


class MemoryLocks:
    """Locks by stack, within this process; use `MemoryLocks(clock)` as `World.lock`.

    `pause`: how one that waits lets time pass. For processes that are simulated, `of(owner)` is `World.lock` of one of
    them, and `end(owner)` what the kernel does when it ends.
    """

    def __init__(self, clock: Clock, pause: Callable[[float], None] = time.sleep) -> None:
        self.now = clock.now
        self.pause = pause
        self.mutex = threading.Lock()
        self.table: dict[str, _Held] = {}

    def __call__(self, stack: str) -> MemoryLock:
        """A handle on the lock of one stack."""
        return MemoryLock(stack, self, self)

    def of(self, owner: object) -> Callable[[str], MemoryLock]:
        """The locks as one process sees them."""
        return lambda stack: MemoryLock(stack, self, owner)

    def end(self, owner: object) -> None:
        """A process has ended, however it did: its locks are free."""
        with self.mutex:
            self.table = {stack: held for stack, held in self.table.items() if held.owner is not owner}

    def owner(self, stack: str) -> object | None:
        """The process that has it. None: nobody."""
        held = self.table.get(stack)
        return held.owner if held else None


class MemoryLock(Lock):
    """The lock of one stack in memory. Two handles exclude each other, also those of one process."""

    def __init__(self, stack: str, locks: MemoryLocks, owner: object) -> None:
        self._stack = stack
        self._locks = locks
        self._owner = owner

    def acquire(self, operation: str, timeout_s: float, on_wait: Line | None = None) -> MemoryLock:
        waited_s = 0.0
        while not self._take(operation):
            if waited_s >= timeout_s:
                held = self.held() or {}
                message = f"stack {self._stack}: {held.get('operation')} is running"
                raise BusyError(message, stack=self._stack, operation=held.get("operation"), pid=held.get("pid"))
            self._locks.pause(_POLL_S)
            waited_s += _POLL_S
        return self

    def _take(self, operation: str) -> bool:
        facts = {"operation": operation, "pid": 1, "since": self._locks.now()}
        with self._locks.mutex:
            if self._stack in self._locks.table:
                return False
            self._locks.table[self._stack] = _Held(self._owner, self, facts)
            return True

    def release(self) -> None:
        with self._locks.mutex:
            held = self._locks.table.get(self._stack)
            if held and held.handle is self:
                del self._locks.table[self._stack]

    def held(self) -> Mapping[str, object] | None:
        held = self._locks.table.get(self._stack)
        return held.facts if held else None
