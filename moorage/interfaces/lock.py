"""Locks of stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from moorage.interfaces.output import Line


class Lock(Protocol):
    """The lock of one stack. The kernel frees it when the holder's process ends, for whatever reason."""

    def acquire(self, operation: str, timeout_s: float, on_wait: Line | None = None) -> object:
        """Take the lock. Raises BusyError if another run still holds it after `timeout_s`."""

    def release(self) -> None:
        """Release the lock; no error if it is not held."""

    def held(self) -> Mapping[str, object] | None:
        """The holder: operation, pid, since (each None if not known). None: nobody holds it. Does not wait."""
