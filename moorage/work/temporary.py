"""Stacks that live with a process: a test run, a CI job, a `with` block.

Such a stack has a name of its own. A kernel lock says whether its process lives, a file that there is such a stack:
when the lock is free and the file is there, the process was killed, and whoever comes next removes the stack.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from moorage.errors import BusyError
from moorage.interfaces import World
from moorage.rules import labels, naming
from moorage.work.down import Ending, down
from moorage.work.threads import in_thread

_FOLDER = "temporary"
_LONGEST_BASE = 48 - len("-ci-123456")


def unique_name(base: str, kind: str = "ci") -> str:
    """A name that no other stack has: `shop-ci-3fa0b2`. Raises DefinitionError for a base that names cannot have."""
    return naming.validate_name(f"{base[:_LONGEST_BASE].rstrip('-_')}-{kind}-{secrets.token_hex(3)}")


class Owned:
    """Says that a stack lives with this process, from `with` to the end of `remove` or `keep`.

    When the block ends without either (the process is killed, the removal fails), the stack counts as left behind and
    the next `remove_orphans` of the machine ends it.
    """

    def __init__(self, world: World, stack: str) -> None:
        self.world = world
        self.stack = stack
        self._lock = world.lock(naming.owner_lock(stack))

    def __enter__(self) -> Self:
        self._lock.acquire("owner", 0)
        # After the lock: a file without a held lock means that the process has ended.
        self.world.files.write(_file(self.stack), json.dumps({"stack": self.stack, "pid": os.getpid()}))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.world.files.read(_file(self.stack)) is None:
            self.world.files.remove(f"locks/{naming.owner_lock(self.stack)}.lock")
        self._lock.release()

    async def remove(self) -> None:
        """Remove the stack with volumes, leases and records."""
        await remove(self.world, self.stack)
        self.keep()

    def keep(self) -> None:
        """Let the stack outlive the process, as any other."""
        self.world.files.remove(_file(self.stack))


async def remove(world: World, stack: str) -> None:
    """Remove all of a stack: containers, networks, volumes, images built for it, leases, records, its lock."""
    if await in_thread(lambda: _is_there(world, stack)):
        ending = Ending(volumes=True, release_ports=True, grace_s=world.settings.undo_grace_s)
        await down(world, stack, ending)
    await in_thread(lambda: _untag(world, stack))
    world.files.remove(f"locks/{stack}.lock")


def _is_there(world: World, stack: str) -> bool:
    store, observed = world.store, world.engine.observe(stack)
    return bool(
        observed.containers
        or observed.networks
        or observed.volumes
        or store.stack(stack)
        or store.leases(stack)
        or store.unfinished_runs(stack)
    )


def _untag(world: World, stack: str) -> None:
    """Images that were built or pinned for this stack bear its name, which no other has."""
    for prefix in (f"{stack}-", labels.pin_prefix(stack)):
        for tag in world.engine.tags(prefix):
            world.engine.untag(tag)


def orphans(world: World) -> list[str]:
    """Names of the stacks whose process has ended without removing them; nothing is removed."""
    stacks = [PurePosixPath(name).stem for name in world.files.names(_FOLDER)]
    return [stack for stack in stacks if not world.lock(naming.owner_lock(stack)).held()]


async def remove_orphans(world: World, on_orphan: Callable[[str], None] = lambda _stack: None) -> list[str]:
    """Remove the stacks whose process has ended without doing so; gives their names.

    Costs the listing of one folder when there are none. `on_orphan` is told each name before the work. Raises
    MoorageError; what is left then is found again by the next call.
    """
    removed = []
    for name in tuple(world.files.names(_FOLDER)):
        stack = PurePosixPath(name).stem
        if await _remove_orphan(world, stack, on_orphan):
            removed.append(stack)
    return removed


async def _remove_orphan(world: World, stack: str, on_orphan: Callable[[str], None]) -> bool:
    lock = world.lock(naming.owner_lock(stack))
    if lock.held():
        return False
    try:
        lock.acquire("sweep", 0)
    except BusyError:
        return False
    try:
        if world.files.read(_file(stack)) is None:  # another one was quicker
            return False
        on_orphan(stack)
        await remove(world, stack)
        world.files.remove(_file(stack))
    finally:
        world.files.remove(f"locks/{naming.owner_lock(stack)}.lock")
        lock.release()
    return True


def _file(stack: str) -> str:
    return f"{_FOLDER}/{stack}.json"
