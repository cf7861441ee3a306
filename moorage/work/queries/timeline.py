"""The timeline of a run, from its record."""

from __future__ import annotations

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.state import RunRecord
from moorage.model.step import Operation
from moorage.model.timeline import Chart
from moorage.rules import timeline as rules

_RUNS = 200
_STARTS = 10
_TIMED = (Operation.UP, Operation.ROLLBACK)


def timeline(world: World, stack: str, run: str | None = None) -> Chart:
    """The timeline of the last start of a stack, or of one run. Raises DefinitionError: there is none."""
    runs = [one for one in world.store.runs(stack, _RUNS) if rules.has_started_something(one)]
    chosen = next((one for one in runs if run is None or one.id.startswith(run)), None)
    if chosen is None:
        which = f"no run {run!r} that started something" if run else "no start on record"
        hint = "`moorage up` creates one." if not runs else f"Runs: {', '.join(one.id for one in runs[:10])}."
        raise DefinitionError(f"{stack}: there is {which}", hint=hint, stack=stack)
    services = {span.service for span in chosen.spans if span.service}
    return rules.chart(chosen, {name: _before(world, runs, chosen, name) for name in services})


def _before(world: World, runs: list[RunRecord], chosen: RunRecord, service: str) -> tuple[float, ...]:
    """Seconds to ready of the starts before this one. Only those that were committed are kept."""
    step = f"ready {service}"
    since = [
        one
        for one in runs[: runs.index(chosen) + 1]
        if one.outcome == "committed" and one.operation in _TIMED and any(span.step == step for span in one.spans)
    ]
    found = world.store.timings(chosen.stack, service, "ready", _STARTS + len(since))
    return found[len(since) :]
