"""The timeline of a run, from its steps: rows, critical path, services that were slower than usual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from moorage.model.state import RunRecord, Span, SpanOutcome
from moorage.model.step import StepKind
from moorage.model.timeline import Chart, Phase, Row, Segment, Slow

_PHASES = {
    StepKind.LEASE: Phase.LEASE,
    StepKind.BUILD: Phase.IMAGE,
    StepKind.PULL: Phase.IMAGE,
    StepKind.CREATE: Phase.CREATE,
    StepKind.STOP: Phase.STOP,
    StepKind.START: Phase.START,
    StepKind.READY: Phase.READY,
    StepKind.REMOVE: Phase.REMOVE,
}
_CLEARLY = 1.5
_AT_LEAST_S = 0.5
_FEWEST_STARTS = 3
_INSTANT_S = 0.001


def chart(run: RunRecord, history: Mapping[str, Sequence[float]]) -> Chart:
    """The timeline of a run. `history`: service → seconds to ready in earlier starts, newest first."""
    spans = {span.step: span for span in run.spans}  # for a step that was retried, the last attempt
    path = critical_path(spans)
    services = dict.fromkeys(span.service for span in sorted(spans.values(), key=_begin))
    names = sorted(services, key=lambda name: (name is not None, _first_start(spans, name)))
    return Chart(
        stack=run.stack,
        operation=run.operation,
        run=run.id,
        at=run.started_at,
        outcome=run.outcome or "not finished",
        generation=run.generation,
        whole_s=max((span.ended_s for span in spans.values()), default=0.0),
        rows=tuple(Row(service=name or "", segments=tuple(_segments(spans, name, path))) for name in names),
        critical=path,
        slow=tuple(_slow(spans, history)),
    )


def _begin(span: Span) -> float:
    return span.began_s


def _first_start(spans: Mapping[str, Span], service: str | None) -> float:
    """Rows are in the order in which their services could start."""
    own = [s for s in spans.values() if s.service == service]
    starts = [s.began_s for s in own if s.kind in (StepKind.START, StepKind.READY)]
    return min(starts or [s.began_s for s in own])


def critical_path(spans: Mapping[str, Span]) -> tuple[str, ...]:
    """From the step that ended last, backwards, each time to the needed step that ended last."""
    found: list[str] = []
    at = max(spans.values(), key=lambda span: span.ended_s, default=None)
    while at is not None and at.step not in found:
        found.append(at.step)
        at = last_needed(spans, at)
    return tuple(reversed(found))


def last_needed(spans: Mapping[str, Span], span: Span) -> Span | None:
    """The step that this one waited for. None: it did not wait."""
    needed = (spans[need] for need in span.needs if need in spans)
    return max(needed, key=lambda one: one.ended_s, default=None)


def _segments(spans: Mapping[str, Span], service: str | None, path: Sequence[str]) -> Iterator[Segment]:
    own = sorted((span for span in spans.values() if span.service == service), key=_begin)
    at: float | None = 0.0 if service is None else _earliest(spans, own)
    for span in own:
        waited_for = last_needed(spans, span)
        if at is not None and service is not None and span.began_s - at > _INSTANT_S:
            on = waited_for.step if waited_for and waited_for.service != service else ""
            yield Segment(phase=Phase.WAIT, began_s=at, ended_s=span.began_s, on=on)
        yield Segment(
            phase=_PHASES[span.kind],
            began_s=span.began_s,
            ended_s=span.ended_s,
            step=span.step,
            failed=span.outcome not in (SpanOutcome.DONE, SpanOutcome.SKIPPED),
            critical=span.step in path,
        )
        at = span.ended_s


def _earliest(spans: Mapping[str, Span], own: Sequence[Span]) -> float | None:
    """When a service begins to wait for others, not just for the run to get going: once containers exist."""
    create = next((span for span in spans.values() if span.kind == StepKind.CREATE), None)
    first = own[0]
    if first.kind in (StepKind.BUILD, StepKind.PULL, StepKind.STOP):
        return None
    return create.ended_s if create else min(span.began_s for span in spans.values())


def _slow(spans: Mapping[str, Span], history: Mapping[str, Sequence[float]]) -> Iterator[Slow]:
    for service, before in sorted(history.items()):
        start, ready = spans.get(f"{StepKind.START} {service}"), spans.get(f"{StepKind.READY} {service}")
        if start and ready and len(before) >= _FEWEST_STARTS:
            took_s, usual_s = ready.ended_s - start.began_s, median(before)
            if took_s > usual_s * _CLEARLY and took_s > usual_s + _AT_LEAST_S:
                yield Slow(service=service, took_s=round(took_s, 3), usual_s=round(usual_s, 3), starts=len(before))
