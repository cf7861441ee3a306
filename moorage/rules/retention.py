"""What is kept of the past, and what of it is no longer needed.

By number and by age, except for what somebody still goes by: an undo, a recovery, `rollback`, an approval, the
treatment of drift, `timeline`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from moorage.model.generation import GenerationRecord
from moorage.model.state import RunHead
from moorage.model.step import Operation

_REPORT = re.compile(r"failures/(?P<stack>.+)-(?P<at>\d{8}T\d{12})-[0-9a-f]+\.json")


class Report(NamedTuple):
    """The file of a failure report."""

    name: str
    stack: str
    at: datetime


def before(now: datetime, days: int) -> datetime | None:
    """What is older than this goes. None: nothing goes by age (`days` is 0)."""
    return now - timedelta(days=days) if days else None


def surplus_runs(
    heads: Sequence[RunHead], number: int, since: datetime | None, lately: datetime
) -> tuple[RunHead, ...]:
    """The runs of a stack that can go; `heads` are all of its runs, newest first.

    `lately`: attempts to mend a service count from then on. Never: a run that has not ended (it is to be undone or
    carried on), and what `_needed` says.
    """
    needed = _needed(heads, lately)
    return tuple(
        head
        for place, head in enumerate(heads)
        if head.finished_at and head.id not in needed and (place >= number or _older(head.finished_at, since))
    )


def _needed(heads: Iterable[RunHead], lately: datetime) -> Collection[str]:
    """Ids of the ended runs of a stack that stay, however old.

    Of each operation, by its outcome and the services it was about, the last one: what was started and stopped on
    purpose, whether the last start was kept, and whether the definition asks for approval can be told from these alone.
    The last one that has a timeline. Attempts to mend a service, as long as they count.
    """
    needed: set[str] = set()
    seen: set[object] = set()
    for head in heads:
        kinds: list[object] = [(head.operation, head.outcome, head.services)]
        if head.has_timeline:
            kinds.append("timeline")
        tried_lately = head.operation == Operation.HEAL and head.started_at >= lately
        if tried_lately or not seen.issuperset(kinds):
            needed.add(head.id)
        seen.update(kinds)
    return needed


def surplus_runs_of_gone(heads: Sequence[RunHead], number: int, since: datetime | None) -> tuple[RunHead, ...]:
    """The same for stacks that are no longer on record, taken together: nothing goes by their runs but people."""
    return tuple(
        head
        for place, head in enumerate(heads)
        if head.finished_at and (place >= number or _older(head.finished_at, since))
    )


def surplus_generations(
    records: Sequence[GenerationRecord], current: int | None, number: int, since: datetime | None
) -> tuple[int, ...]:
    """Numbers of the generations of a stack that can go; `records` are all of its own, newest first.

    Never: the current one. Age counts from when a generation was superseded, not from when it was made: what ran until
    today can be gone back to.
    """
    return tuple(
        record.number
        for place, record in enumerate(records)
        if record.number != current and (place >= number or _older(record.superseded_at, since))
    )


def report(name: str) -> Report | None:
    """A failure report by the name of its file. None: it is something else."""
    found = _REPORT.fullmatch(name)
    if not found:
        return None
    try:
        at = datetime.strptime(f"{found['at']}+0000", "%Y%m%dT%H%M%S%f%z")
    except ValueError:  # digits, but of no day
        return None
    return Report(name, found["stack"], at)


def surplus_reports(reports: Iterable[Report], number: int, since: datetime | None) -> tuple[Report, ...]:
    """Those that can go of the failure reports that are given."""
    newest_first = sorted(reports, key=lambda one: one.at, reverse=True)
    return tuple(one for place, one in enumerate(newest_first) if place >= number or _older(one.at, since))


def _older(at: datetime | None, since: datetime | None) -> bool:
    return at is not None and since is not None and at < since
