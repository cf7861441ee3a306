"""Orphans: stacks whose process was killed before it removed them. Finds them by their free lock, and removes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from moorage.errors import BusyError
from moorage.interfaces import Lock, World
from moorage.model.request import DownRequest
from moorage.rules import labels, naming
from moorage.work.operations.down import down
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.threads import in_thread, uncancelled

_FOLDER = "temporary"


@foreign_errors_named()
async def remove(world: World, stack: str) -> None:
    """Remove all of a stack: containers, networks, volumes, images built for it, leases, records."""
    if await in_thread(lambda: _is_there(world, stack)):
        grace_s = world.settings.undo_grace_s
        await down(Context(world), DownRequest(stack=stack, volumes=True, release_ports=True, timeout_s=grace_s))
    await in_thread(lambda: _untag(world, stack))


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
    return [one for one in stacks if not naming.is_valid(one) or not world.lock(naming.owner_lock(one)).held()]


@foreign_errors_named()
async def remove_orphans(world: World, on_orphan: Callable[[str], None] = lambda _stack: None) -> list[str]:
    """Remove the stacks whose process has ended without doing so; gives their names.

    Costs the listing of one folder when there are none. `on_orphan` is told each name before the work. Raises
    MoorageError, when the others are removed; what is left then is found again by the next call.
    """
    removed = []
    failed: list[Exception] = []
    for name in await in_thread(lambda: tuple(world.files.names(_FOLDER))):
        stack = PurePosixPath(name).stem
        try:
            if naming.is_valid(stack) and await remove_orphan(world, stack, on_orphan):
                removed.append(stack)
        except Exception as error:  # noqa: BLE001 - the others go; it is raised at the end
            failed.append(error)
    if failed:
        raise failed[0]
    return removed


async def remove_orphan(world: World, stack: str, on_orphan: Callable[[str], None] = lambda _stack: None) -> bool:
    """Remove one of them. False: its process lives, or another one is at it."""
    lock = world.lock(naming.owner_lock(stack))
    if not await in_thread(lambda: _taken(lock)):
        return False
    try:
        if await in_thread(lambda: world.files.read(_file(stack))) is None:  # another one was quicker
            return False
        on_orphan(stack)
        await remove(world, stack)
        await in_thread(lambda: world.files.remove(_file(stack)))
    finally:
        await uncancelled(in_thread(lock.release))
    return True


def _taken(lock: Lock) -> bool:
    """False: its process lives, or another one is at it."""
    if lock.held():
        return False
    try:
        lock.acquire("sweep", 0)
    except BusyError:
        return False
    return True


def _file(stack: str) -> str:
    return f"{_FOLDER}/{stack}.json"
