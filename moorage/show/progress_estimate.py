"""How far a run has got: a percentage that grows while anything is happening, and a line that says what that is."""

from __future__ import annotations

from dataclasses import dataclass, field

from moorage.model.event import Action, Event
from moorage.model.step import Plan, StepKind
from moorage.show.formatting import count, one_line, seconds
from moorage.show.progress_state import begins_undo

_DONE = frozenset({Action.DONE, Action.SKIPPED})
_USUAL_S = {StepKind.BUILD: 30.0, StepKind.PULL: 20.0, StepKind.READY: 5.0}
"""Time after which a step of this kind counts as half done; for other kinds `_SHORT_S`."""
_SHORT_S = 1.0
_ALMOST = 99.0
"""The last percent is for the commit."""


@dataclass
class ProgressEstimate:
    """Estimates progress from steps and events. Times are in seconds of a monotonic clock."""

    began: float
    expected: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    running: dict[str, float] = field(default_factory=dict)
    """Step → when it began."""
    undoing: bool = False
    waiting: str = ""
    """What the run is waiting for before it begins, as text. Empty: it is not waiting."""
    said: str = ""
    """The last line of output."""
    ended_at: float | None = None
    """Percentage when it failed or was interrupted: later steps are not progress. None: it has not."""
    _percent: float = 0.0

    def update(self, event: Event, now: float) -> None:
        """Take an event in."""
        if event.action == Action.PLANNED and (plan := event.details.get("plan")):
            self.expected.update(step.id for step in Plan.model_validate(plan).steps)
        if begins_undo(event):
            self.undoing = True
            self.end()
        self.waiting = str(event.details.get("waiting", self.waiting))
        if event.action == Action.PROGRESS:
            self.said = one_line(event.message)
        if not event.step or event.action in (Action.NOTICE, Action.PROGRESS):
            return
        self.expected.add(event.step)
        if event.action in _DONE or event.action == Action.FAILED:
            self.running.pop(event.step, None)
            self.said = ""
            if event.action in _DONE:
                self.done.add(event.step)
        elif event.action == Action.STARTED:
            self.running[event.step] = now
            self.done.discard(event.step)

    def end(self) -> float:
        """Call when it has failed or was interrupted: the percentage stays at what was done until then."""
        if self.ended_at is None:
            self.ended_at = round(min(_ALMOST, 100.0 * len(self.done) / max(1, len(self.expected))), 2)
        return self.ended_at

    def percent(self, now: float) -> float:
        """From 0 to 99; never less than the last time, until it has failed."""
        if self.ended_at is not None:
            return self.ended_at
        parts = sum(_part(step, now - began) for step, began in self.running.items())
        whole = max(1, len(self.expected))
        self._percent = max(self._percent, min(_ALMOST, 100.0 * (len(self.done) + parts) / whole))
        return round(self._percent, 2)

    def words(self, now: float) -> str:
        """`3 of 8 steps after 4.2 s; ready web (2.1 s)`, or what it is waiting for."""
        if self.waiting:
            return f"{self.waiting}; {seconds(now - self.began)} so far"
        doing = ", ".join(f"{step} ({seconds(now - began)})" for step, began in self.running.items())
        undo = "undoing; " if self.undoing else ""
        so_far = f"{undo}{len(self.done)} of {count(len(self.expected), 'step')} after {seconds(now - self.began)}"
        return "; ".join(filter(None, (so_far, doing, self.said)))


def _part(step: str, elapsed_s: float) -> float:
    """Estimated share of a running step that is done, below 1: always growing, because the real share is unknown."""
    kind = step.split(" ", 1)[0]
    usual_s = next((usual for name, usual in _USUAL_S.items() if name == kind), _SHORT_S)
    return elapsed_s / (elapsed_s + usual_s)
