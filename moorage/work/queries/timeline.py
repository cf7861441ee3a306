"""The timeline of a run, from its record."""

from __future__ import annotations

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.state import RunOutcome, RunRecord
from moorage.model.step import Operation
from moorage.model.timeline import Chart
from moorage.rules import timeline as rules

_STARTS = 10
_TIMED = (Operation.UP, Operation.ROLLBACK)


def timeline(world: World, stack: str, run: str | None = None) -> Chart:
    """The timeline of the last start of a stack, or of one run, by its id or the beginning of it.

    Raises DefinitionError: there is none, or there are several.
    """
    runs = [one for one in world.store.runs(stack, None) if one.has_timeline]
    chosen = _chosen(runs, stack, run)
    services = {span.service for span in chosen.spans if span.service}
    return rules.chart(chosen, {name: _before(world, runs, chosen, name) for name in services})


def _chosen(runs: list[RunRecord], stack: str, run: str | None) -> RunRecord:
    found = runs[:1] if run is None else [one for one in runs if one.id.startswith(run)]
    if len(found) == 1:
        return found[0]
    if found:
        message, hint = f"{stack}: {run!r} is the beginning of several runs", f"They are: {_ids(found)}."
    elif runs:
        message, hint = f"{stack}: there is no run {run!r} that started something", f"There are: {_ids(runs)}."
    else:
        message, hint = f"{stack}: there is no start on record", "`moorage up` makes one."
    raise DefinitionError(message, hint=hint, stack=stack)


def _ids(runs: list[RunRecord]) -> str:
    return ", ".join(one.id for one in runs[:10])


def _before(world: World, runs: list[RunRecord], chosen: RunRecord, service: str) -> tuple[float, ...]:
    """Seconds to ready of the starts before this one. Only those that were committed are kept."""
    step = f"ready {service}"
    since = [
        one
        for one in runs[: runs.index(chosen) + 1]
        if one.outcome == RunOutcome.COMMITTED
        and one.operation in _TIMED
        and any(span.step == step for span in one.spans)
    ]
    found = world.store.timings(chosen.stack, service, "ready", _STARTS + len(since))
    return found[len(since) :]
