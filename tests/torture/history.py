"""What was done to a stack, by whom, from when until when, and what was seen: a history, as Jepsen has it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Outcome(StrEnum):
    """What is known of an operation that was begun."""

    OK = "ok"
    """It was done, and `saw` has what it answered."""
    FAIL = "fail"
    """It was not done: it has changed nothing that is in the model."""
    INFO = "info"
    """Nobody knows: it was killed, or failed in the middle. It may happen later still."""


@dataclass
class Operation:
    """One verb at one stack; times in seconds since the history began."""

    client: str
    verb: str
    stack: str
    given: dict[str, Any] = field(default_factory=dict)
    """What it was asked for."""
    invoked: float = 0.0
    returned: float = 0.0
    outcome: Outcome = Outcome.INFO
    saw: dict[str, Any] = field(default_factory=dict)
    """What it answered; for people, `exit` and `said` too."""
    settled: float | None = None
    """When it had happened or never will, for one whose outcome nobody knows. None: that is never sure."""
    amid: tuple[Operation, ...] = ()
    """The changes that were going on meanwhile, of which one that reads may see the middle (`surroundings`)."""

    def __str__(self) -> str:
        seen = {key: value for key, value in self.saw.items() if key != "said"}
        return (
            f"{self.invoked:8.2f}-{self.returned:8.2f} {self.client:>8} {self.stack} {self.verb} "
            f"{self.given or ''} {self.outcome} {seen or ''}"
        )


class Recorder:
    """Keeps operations, and writes each to a file when it ends, so that a history outlives who records it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.operations: list[Operation] = []

    def now(self) -> float:
        """Seconds since the beginning; of the monotonic clock, which orders what different clients do."""
        return time.monotonic() - self._began

    def begin(self, operation: Operation) -> Operation:
        """It is invoked now."""
        operation.invoked = self.now()
        return operation

    def end(self, operation: Operation) -> None:
        """It has returned now."""
        operation.returned = self.now()
        line = {key: value for key, value in asdict(operation).items() if key not in ("amid", "settled")}
        with self._lock:
            self.operations.append(operation)
            self._file.write(json.dumps(line, default=str) + "\n")

    def note(self, what: str, **more: Any) -> None:
        """A line of the timeline that is no operation: what a nemesis did."""
        with self._lock:
            self._file.write(json.dumps({"at": self.now(), "note": what, **more}, default=str) + "\n")

    def take(self) -> list[Operation]:
        """All that have ended since the last time, in the order of their beginnings."""
        with self._lock:
            taken, self.operations = self.operations, []
        return sorted(taken, key=lambda one: one.invoked)

    def close(self) -> None:
        """No more is written."""
        self._file.close()


def read(lines: Iterable[str]) -> list[Operation]:
    """The operations of a file that a `Recorder` wrote."""
    rows = [json.loads(line) for line in lines]
    return [Operation(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows if "client" in row]


def surroundings(operations: list[Operation], readers: frozenset[str], exclusive: frozenset[str], until: float) -> None:
    """Tell each operation of one stack which changes are going on meanwhile: readers may see the middle of them.

    Of the verbs that are `exclusive` one goes on at a time. One of them that ended as INFO is settled when a later one is
    done: that had to finish or undo it first. Without such a one it goes on `until` the history is settled.
    """
    changes = [one for one in operations if one.verb not in readers]
    done = [one for one in changes if one.outcome is Outcome.OK and one.verb in exclusive]
    for change in changes:
        ended = change.returned
        if change.outcome is Outcome.INFO:
            # What the worker was given has its own time: who asked for it may be gone before it begins.
            excludes = change.verb in exclusive and not change.given.get("hub")
            later = [one.returned for one in done if excludes and one.invoked > change.returned]
            ended = min(later, default=until)
            change.settled = ended if later else None
        for other in operations:
            if other is not change and change.invoked < other.returned and other.invoked < ended:
                other.amid = (*other.amid, change)
