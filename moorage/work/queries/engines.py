"""Whether a stack is on the engine that is used now: what is on another one must not be taken for gone."""

from __future__ import annotations

from moorage.interfaces import World
from moorage.model.engine import EngineRecord
from moorage.rules import engines


def of(world: World) -> EngineRecord:
    """The engine of this world, for the record. Raises EngineUnavailableError."""
    place = world.engine.place()
    return EngineRecord(address=place.address, context=place.context, id=world.engine.identity())


def elsewhere(world: World, stack: str) -> EngineRecord | None:
    """The other engine that the stack, or a run that did not finish, is on. None: it is on this one, or on none."""
    if world.settings.forget_engine:
        return None
    known = world.store.stack(stack)
    records = [run.engine for run in world.store.unfinished_runs(stack)] + ([known.engine] if known else [])
    place = world.engine.place()
    strange = [one for one in records if one is not None and one.address != place.address]
    if not strange:  # the usual case: the engine itself need not be asked
        return None
    now = of(world)
    return next((one for one in strange if not engines.is_same(one, now)), None)


def refuse(world: World, stack: str) -> None:
    """Raises OtherEngineError."""
    if other := elsewhere(world, stack):
        raise engines.other(stack, other, world.engine.place())
