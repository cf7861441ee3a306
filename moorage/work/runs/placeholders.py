"""Placeholder containers, which hold anonymous volumes, and Compose's replacements under temporary names."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.errors import EngineError, EngineUnavailableError
from moorage.interfaces import Engine
from moorage.model.state import Observed
from moorage.rules import labels, undo
from moorage.rules.undo import Placeholder
from moorage.work.runs.run import Run


def give_names_back(run: Run) -> Observed:
    """Give replacements the names of what they replace, where that is gone; remove them where it is not.

    Compose makes a replacement under a temporary name. One that it was cut off at it would keep as it is, for ever.
    Gives what there is of the stack then.
    """
    engine = run.world.engine
    observed = engine.observe(run.stack)
    names, changed = {c.name for c in observed.containers}, False
    for one in observed.containers:
        plain = undo.plain_name(one.name, run.stack)
        if plain == one.name or not labels.ours(one.labels, run.stack, run.world.home):
            continue
        changed = True
        if plain in names:
            # What a holder holds is not its own: another undo will look for it.
            engine.remove(one.id, volumes=labels.HOLDER not in one.labels)
        else:
            engine.rename(one.id, plain)
            names.add(plain)
    return engine.observe(run.stack) if changed else observed


def hold_places(run: Run, holders: Iterable[Placeholder]) -> None:
    """Keep number and anonymous volumes of what is gone, for what Compose creates in its place.

    Compose hands volumes on from a container to its replacement only: where the failed definition had no place for one,
    the service would have lost it. Raises EngineError: that must not be taken for an undo.
    """
    for holder in holders:
        image = run.generation.images.get(holder.service) if run.generation else None
        if image:
            _held(run.world.engine, holder, image.tag)


def _held(engine: Engine, holder: Placeholder, image: str) -> None:
    """Once more if it fails: an engine that is busy may refuse for a moment what an undo cannot do without."""
    try:
        engine.hold(holder.name, image, holder.labels, holder.volumes)
    except EngineUnavailableError:
        raise
    except EngineError:
        if holder.name not in engine.named("container"):  # else it was done, and the answer is wrong
            engine.hold(holder.name, image, holder.labels, holder.volumes)
