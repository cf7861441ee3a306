"""Events as plain lines, without control characters: for logs, pipes and CI."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.model.event import Action, Event
from moorage.model.step import StepKind
from moorage.show.formatting import clean, one_line, seconds
from moorage.show.progress_state import ProgressState, begins_undo

FIRST_BEAT_S = 2.0
BEAT_S = 10.0
_QUICK_S = 1.0
_LONG = frozenset({StepKind.BUILD, StepKind.PULL})
"""Steps that are reported when they begin; the others only when they are done."""


def lines(event: Event, board: ProgressState, *, undoing: bool) -> Iterator[str]:
    """The lines for an event, usually one. `undoing`: the event belongs to an undo."""
    before = f"{event.stack}: " if board.several and event.stack else ""
    before += "undo: " if undoing and event.step else ""
    for line in _lines(event):
        yield before + line


def _lines(event: Event) -> Iterator[str]:
    kind = event.step.split(" ", 1)[0]
    said = one_line(event.message)
    match event.action:
        case Action.STARTED if kind in _LONG:
            yield f"{event.step}: {said}" if said else event.step
        case Action.PROGRESS:
            name = event.service or event.step
            yield from (f"  {name} | {_line(line)}" for line in clean(event.message).splitlines() if line.strip())
        case Action.DONE | Action.SKIPPED:
            yield from _done(event, kind, said)
        case Action.FAILED:
            took = f" after {seconds(event.elapsed_s)}" if event.elapsed_s is not None else ""
            yield f"FAILED {event.step or event.stack}{took}: {said}".rstrip(": ")
        case Action.NOTICE | Action.RETRY:
            yield notice(event)
        case Action.UNDONE:
            yield said or "undone"


def _done(event: Event, kind: str, said: str) -> Iterator[str]:
    """`ready db (0.31 s)`; for a lease, a line for each port."""
    took = f" ({seconds(event.elapsed_s)})" if event.elapsed_s is not None else ""
    if event.action == Action.SKIPPED:
        yield f"{event.step}: {said}" if said else f"{event.step}: already done"
    elif kind == StepKind.LEASE:
        yield from (f"lease  {lease}" for lease in said.split(", ") if lease)
    elif kind == StepKind.START and (event.elapsed_s or 0) < _QUICK_S:
        yield event.step
    elif kind in (StepKind.CREATE, StepKind.REMOVE) and said:
        yield f"{event.step}: {said}{took}"
    elif event.step:
        yield f"{event.step}{took}"


def _line(text: str) -> str:
    return text.expandtabs(4).rstrip()


def notice(event: Event) -> str:
    """A notice or a retry as one line."""
    said = one_line(event.message)
    if begins_undo(event):
        return said
    if event.action == Action.RETRY:
        return f"retry {event.step}: {said}" if event.step else f"retry: {said}"
    return f"note: {event.step}: {said}" if event.step else f"note: {said}"


def still(board: ProgressState, now: float) -> str | None:
    """A line about steps that have been running for a while without output. None: no line is due.

    The first one is due after two seconds, then one every ten.
    """
    due = []
    for row in board.running:
        row.beat_at = row.beat_at or row.began + FIRST_BEAT_S
        if now >= row.beat_at:
            due.append(f"{row.step} ({now - row.began:.0f} s)")
            row.beat_at = now + BEAT_S
    if not board.running:
        board.quiet_beat_at = board.quiet_beat_at or board.last_event_at + FIRST_BEAT_S
        if now >= board.quiet_beat_at:
            due.append(f"{board.pause()} ({now - board.last_event_at:.0f} s)")
            board.quiet_beat_at = now + BEAT_S
    return f"still: {', '.join(due)}" if due else None
