"""Brings containers back to their networks: Compose leaves those off that are not running, and those without a name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from moorage.errors import EngineError
from moorage.interfaces import Line
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.state import Observed
from moorage.rules import attachments
from moorage.work.runs.run import Run


def reattach(run: Run, generation: Generation, file: Path, names: Collection[str], tell: Line) -> Observed:
    """Re-create what is not on its networks, with what shares something with it; gives what is there then.

    `names`: the services to look at; empty: all. A container that is connected by hand has no name there, and one that
    was off a network when it was stopped does not come back to it by a start. Raises EngineError: it is still off.
    """
    engine, config = run.world.engine, generation.config
    observed = engine.observe(run.stack)
    chosen = names or config["services"]
    off = attachments.off(config, observed, chosen)
    if not off:
        return observed
    for name, words in off.items():
        run.tell(Action.NOTICE, "create", f"{name}: {words}; its containers are made again", service=name)
    again = attachments.with_sharers(config, off)
    run.world.compose.create(run.stack, file, sorted(again), True, tell)
    observed = engine.observe(run.stack)
    if left := attachments.off(config, observed, chosen):
        message = "; ".join(f"services.{name}: {words}" for name, words in left.items())
        hint = "Does something remove or disconnect networks meanwhile? `moorage up` tries again."
        raise EngineError(message, hint=hint, stack=run.stack)
    return observed
