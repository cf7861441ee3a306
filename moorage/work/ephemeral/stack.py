"""Stacks that live with a process: a test run, a CI job, a `with` block.

Such a stack has a unique name. A kernel lock tells whether its process is alive, and a file tells that the stack
exists: if the lock is free and the file exists, the process was killed, and the next `moorage` call removes the stack.
"""

from __future__ import annotations

import json
import os
import secrets
from types import TracebackType
from typing import Self

from moorage.interfaces import World
from moorage.rules import naming
from moorage.work.operations.orphans import _file, remove
from moorage.work.threads import in_thread

_LONGEST_BASE = 48 - len("-ci-123456")


def unique_name(base: str, kind: str = "ci") -> str:
    """A unique name: `shop-ci-3fa0b2`. Raises DefinitionError if `base` cannot be part of a name."""
    return naming.validate_name(f"{base[:_LONGEST_BASE].rstrip('-_')}-{kind}-{secrets.token_hex(3)}")


class EphemeralStack:
    """Marks a stack as owned by this process, from `with` to the end of `remove` or `keep`.

    If the block ends without either (the process is killed, the removal fails), the stack is an orphan, and the next
    `remove_orphans` on the machine removes it.
    """

    def __init__(self, world: World, stack: str) -> None:
        self.world = world
        self.stack = stack
        self._lock = world.lock(naming.owner_lock(stack))

    def __enter__(self) -> Self:
        self._lock.acquire("owner", 0)
        try:
            # After the lock, because a file without a held lock means that the process has ended.
            self.world.files.write(_file(self.stack), json.dumps({"stack": self.stack, "pid": os.getpid()}))
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    async def remove(self) -> None:
        """Remove the stack with volumes, leases and records."""
        await remove(self.world, self.stack)
        await in_thread(self.keep)

    def keep(self) -> None:
        """Let the stack outlive the process, like any other stack."""
        self.world.files.remove(_file(self.stack))
