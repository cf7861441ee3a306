"""Locks of stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from moorage.interfaces.output import Line


class Lock(Protocol):
    """The lock of one stack. The kernel frees it when its process ends, however that happens."""

    def acquire(self, operation: str, timeout_s: float, on_wait: Line | None = None) -> object:
        """Take it. Raises BusyError when another run holds it for longer than `timeout_s`."""

    def release(self) -> None:
        """Give it back; no error if it is not held."""

    def held(self) -> Mapping[str, object] | None:
        """Who holds it: operation, pid, since. None: nobody."""
