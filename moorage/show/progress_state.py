"""The state of a run, gathered from its events: one row per service, and one per step of the whole stack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from moorage.model.event import Action, Event
from moorage.model.step import Plan, StepKind
from moorage.show.formatting import count, one_line, seconds

UNDO = "undo"
_UNDOING = "undoing"
"""Message of the notice that marks the beginning of an undo."""
_GOES_ON = frozenset({StepKind.BUILD, StepKind.PULL, StepKind.START})
"""Kinds of steps that are followed by more steps of the same service; after other kinds its row is done."""
_ENDED = {Action.DONE, Action.SKIPPED, Action.FAILED}
_INTERRUPTED = 130


class RowState(StrEnum):
    """State of a row."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CUT = "cut short"
    """Ended because something else failed."""


@dataclass
class Row:
    """A service, or a step of the whole stack."""

    stack: str
    service: str | None
    kind: str
    mark: RowState = RowState.WAITING
    began: float = 0.0
    elapsed_s: float | None = None
    """How long its last step took. None: it has not ended."""
    said: str = ""
    """The last line of output, or the result of the step."""
    undo: bool = False
    """True: its step belongs to an undo."""
    waits: str = ""
    """What it is waiting for, while it is waiting."""
    beat_at: float = 0.0
    """When plain output should say again that it is still running."""

    @property
    def name(self) -> str:
        """The service, or the kind of step."""
        return self.service or self.kind

    @property
    def step(self) -> str:
        """`ready db`."""
        return f"{self.kind} {self.service}" if self.service else self.kind


class ProgressState:
    """The rows of all stacks that events mention. Not thread-safe: its owner holds a lock."""

    def __init__(self, now: float) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.undoing: set[str] = set()
        self.undone: dict[str, bool] = {}
        """Stack → whether its undo was complete."""
        self.began = now
        self.last_event_at = now
        self.quiet_beat_at = 0.0
        """Like `Row.beat_at`, while no step is running."""

    def expect(self, plan: Plan) -> None:
        """Create the rows of a plan in advance, so that waiting services are visible too."""
        for step in plan.steps:
            if step.service and (plan.stack, step.service) not in self.rows:
                self.rows[plan.stack, step.service] = Row(plan.stack, step.service, step.kind)
            needs = ", ".join(need for need in step.needs if need != StepKind.CREATE)
            if step.service and step.kind == StepKind.START and needs:
                self.rows[plan.stack, step.service].waits = f"after {needs}"

    def update(self, event: Event, now: float) -> None:
        """Update from an event."""
        self.last_event_at, self.quiet_beat_at = now, 0.0
        if event.action in (Action.NOTICE, Action.RETRY):
            if begins_undo(event):
                self._begin_undo(event.stack, now)
        elif event.action == Action.UNDONE:
            self._end_undo(event, now)
        elif event.action == Action.PLANNED and (plan := event.details.get("plan")):
            if event.stack not in self.undoing:  # the rows of an undo come as its steps begin
                self.expect(Plan.model_validate(plan))
        elif event.step:
            self._step(event, now)

    def _step(self, event: Event, now: float) -> None:
        kind = event.step.split(" ", 1)[0]
        row = self.rows.setdefault((event.stack, event.service or kind), Row(event.stack, event.service, kind))
        if event.action == Action.STARTED:
            row.kind, row.mark, row.began, row.elapsed_s, row.said = kind, RowState.RUNNING, now, None, ""
            row.undo, row.beat_at = event.stack in self.undoing, 0.0
        elif event.action == Action.PROGRESS:
            row.said = one_line(event.message) or row.said
        elif event.action in _ENDED:
            row.kind, row.elapsed_s = kind, event.elapsed_s if event.elapsed_s is not None else now - row.began
            row.said = one_line(event.message)
            row.mark = (
                RowState.FAILED
                if event.action == Action.FAILED
                else RowState.WAITING
                if kind in _GOES_ON
                else RowState.DONE
            )

    def _begin_undo(self, stack: str, now: float) -> None:
        self._cut(stack, now)
        self.undoing.add(stack)
        self.rows[stack, UNDO] = Row(stack, None, UNDO, RowState.RUNNING, now, undo=True)

    def _end_undo(self, event: Event, now: float) -> None:
        complete = not event.message.startswith("left")
        self.undone[event.stack] = complete
        self.undoing.discard(event.stack)
        row = self.rows.setdefault((event.stack, UNDO), Row(event.stack, None, UNDO, began=now, undo=True))
        row.mark, row.elapsed_s = RowState.DONE if complete else RowState.FAILED, now - row.began
        row.said = one_line(event.message).removeprefix("undone: ")

    def _cut(self, stack: str, now: float) -> None:
        """Mark the rows that were running or waiting as cut short."""
        for row in self.rows.values():
            if row.stack == stack and row.mark in (RowState.RUNNING, RowState.WAITING) and not row.undo:
                elapsed_s = now - row.began if row.mark == RowState.RUNNING else row.elapsed_s
                row.mark, row.elapsed_s, row.said = RowState.CUT, elapsed_s, ""

    def end(self, now: float) -> None:
        """Call when no more events will come."""
        for stack in {row.stack for row in self.rows.values()}:
            self._cut(stack, now)

    @property
    def ordered(self) -> list[Row]:
        """Steps of the whole stack, then the services as they came, then the undo."""
        return sorted(self.rows.values(), key=lambda row: (row.kind == UNDO, row.service is not None))

    @property
    def running(self) -> list[Row]:
        """The rows of steps that are running now."""
        return [row for row in self.rows.values() if row.mark == RowState.RUNNING]

    @property
    def several(self) -> bool:
        """True if there are rows of more than one stack, so that each row has to name its stack."""
        return len({row.stack for row in self.rows.values()}) > 1

    def label(self, row: Row) -> str:
        """The name of a row."""
        return f"{row.stack}/{row.name}" if self.several else row.name

    def pause(self) -> str:
        """What the run is doing while no step is running."""
        return "finishing" if self.rows else "planning"

    def summary(self, error: BaseException | None, now: float) -> tuple[bool, str] | None:
        """Whether everything succeeded, and the last line. None: nothing happened."""
        if not self.rows:
            return None
        stacks = ", ".join(sorted({row.stack for row in self.rows.values()}))
        took = seconds(now - self.began)
        if error is None and not self.undone:
            return True, f"{stacks}: {self._came_to()} in {took}"
        how = "interrupted" if _is_interrupt(error) else "failed"
        undo = ("undone" if all(self.undone.values()) else "not completely undone") if self.undone else ""
        return False, f"{stacks}: {' and '.join(filter(None, (how, undo)))} after {took}"

    def _came_to(self) -> str:
        done = [row for row in self.rows.values() if row.mark == RowState.DONE]
        ready, stopped = (_services(done, kind) for kind in (StepKind.READY, StepKind.STOP))
        said = [f"{count(ready, 'service')} ready"] if ready else []
        said += [f"{count(stopped, 'service')} stopped"] if stopped else []
        removed = [row.service for row in done if row.kind == StepKind.REMOVE]
        said += [f"{', '.join(filter(None, removed))} removed" if all(removed) else "removed"] if removed else []
        return ", ".join(said) or "done"


def begins_undo(event: Event) -> bool:
    """True if this notice marks the beginning of an undo."""
    return event.action == Action.NOTICE and not event.step and event.message == _UNDOING


def _services(rows: Iterable[Row], kind: StepKind) -> int:
    return sum(1 for row in rows if row.kind == kind)


def _is_interrupt(error: BaseException | None) -> bool:
    if error is None:
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"KeyboardInterrupt", "CancelledError"}) or getattr(error, "exit_code", None) == _INTERRUPTED
