"""The volumes of stacks, and their users."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.interfaces import World
from moorage.model.volume import Volume
from moorage.rules import volumes as rules
from moorage.work.definitions import generations


def listed(world: World, stack: str | None) -> tuple[Volume, ...]:
    """Our volumes, and others that our stacks mount; of one stack, or of all (None)."""
    records = [record.name for record in world.store.stacks()]
    used = {name: key for record in records for key, name in _names(world, record).items()}
    found = [
        v for v in world.volumes.all(sized=True) if rules.ours(v, world.home) or v.name in used or _uses(v, records)
    ]
    return tuple(v for v in found if stack is None or stack in (v.stack, *(user.stack for user in v.users)))


def _names(world: World, stack: str) -> dict[str, str]:
    generation = generations.current(world, stack)
    return rules.names_of(generation) if generation else {}


def _uses(volume: Volume, stacks: Sequence[str]) -> bool:
    return any(user.stack in stacks for user in volume.users)
