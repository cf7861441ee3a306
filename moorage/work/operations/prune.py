"""`volumes prune`: removes volumes that nobody needs."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.errors import EngineError
from moorage.interfaces import World
from moorage.model.volume import Volume
from moorage.rules import volumes as rules


def to_prune(world: World, stack: str | None, *, all_: bool) -> tuple[tuple[Volume, ...], tuple[Volume, ...]]:
    """(what would go, what would go only with `all_`): our volumes that no container mounts."""
    on_record = {record.name for record in world.store.stacks()}
    volumes = [v for v in world.volumes.all() if stack in (None, v.stack)]
    every = rules.unneeded(volumes, world.home, on_record, all_=True)
    chosen = every if all_ else rules.unneeded(volumes, world.home, on_record, all_=False)
    return chosen, tuple(v for v in every if v not in chosen)


def prune(world: World, volumes: Sequence[Volume]) -> tuple[list[Volume], list[str]]:
    """Remove volumes; (those that went, why others stayed). Looks again: one that is in use by now stays."""
    gone, kept = [], []
    for volume in volumes:
        now = world.volumes.find(volume.name)
        if now is None:
            continue
        if now.users or not rules.ours(now, world.home) or now.labels != volume.labels:
            kept.append(f"{volume.name}: now in use")
        elif holder := world.lock(volume.stack).held():
            kept.append(f"{volume.name}: `{holder.get('operation') or 'another run'}` of {volume.stack} is running")
        elif problem := _removed(world, volume):
            kept.append(problem)
        else:
            gone.append(volume)
    return gone, kept


def _removed(world: World, volume: Volume) -> str | None:
    """None: it is gone."""
    try:
        world.engine.remove_volume(volume.name)
    except EngineError as error:
        return f"{volume.name}: {error}"
    return None
