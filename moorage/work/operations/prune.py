"""`volumes prune`: removes volumes that nobody needs."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.errors import BusyError, EngineError
from moorage.interfaces import World
from moorage.model.volume import Volume
from moorage.rules import naming
from moorage.rules import volumes as rules
from moorage.rules.excerpts import quoted


def to_prune(world: World, stack: str | None, *, all_: bool) -> tuple[tuple[Volume, ...], tuple[Volume, ...]]:
    """(what would go, what would go only with `all_`): our volumes that no container mounts."""
    on_record = world.store.names()
    volumes = [v for v in world.volumes.all(sized=True) if stack in (None, v.stack)]
    every = rules.unneeded(volumes, world.home, on_record, all_=True)
    chosen = every if all_ else rules.unneeded(volumes, world.home, on_record, all_=False)
    return chosen, tuple(v for v in every if v not in chosen)


def prune(world: World, volumes: Sequence[Volume]) -> tuple[list[Volume], list[str]]:
    """Remove volumes; (those that went, why others stayed). Each with its stack's lock, and looked at again with it."""
    gone, kept = [], []
    for volume in volumes:
        problem = _pruned(world, volume)
        if problem:
            kept.append(problem)
        elif problem is None:
            gone.append(volume)
    return gone, kept


def _pruned(world: World, volume: Volume) -> str | None:
    """Why it stays. None: it has gone. Empty: it was gone already."""
    if not naming.is_valid(volume.stack):  # anybody may have written it onto the volume
        return f"{volume.name}: no stack can have the name {quoted(volume.stack)}"
    lock = world.lock(volume.stack)
    try:
        lock.acquire("volumes prune", 0)
    except BusyError as error:
        return f"{volume.name}: `{error.fields.get('operation') or 'another run'}` of {volume.stack} is running"
    try:
        return _removed(world, volume)
    finally:
        lock.release()


def _removed(world: World, volume: Volume) -> str | None:
    """The same, with the lock."""
    now = world.volumes.find(volume.name)
    if now is None:
        return ""
    if now.users or not rules.ours(now, world.home) or now.labels != volume.labels:
        return f"{volume.name}: now in use"
    if world.store.unfinished_runs(volume.stack):
        return f"{volume.name}: a run of {volume.stack} did not finish and may need it; `moorage sweep` ends that"
    try:
        world.engine.remove_volume(volume.name)
    except EngineError as error:
        return f"{volume.name}: {error}"
    return None
