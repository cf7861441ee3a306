"""Which end was seen by a run, and so was none by `stop`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from moorage.model.state import RunHead
from moorage.rules import endings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("began_s", "ended_s", "operation", "outcome", "seen"),
    [
        (2, 5, "up", "committed", True),
        (2.0003, 2, "up", "committed", True),  # so says the engine of a short life
        (2, 5, "restart", "committed", True),
        (2, 5, "heal", "committed", True),
        (2, 5, "up", "undone", False),
        (2, 5, "stop", "committed", False),
        (-9, 5, "up", "committed", False),
        (2, 11, "up", "committed", False),
        (None, 5, "up", "committed", False),
        (2, None, "up", "committed", False),
    ],
)
def test_an_end_within_a_run(
    began_s: float | None, ended_s: float | None, operation: str, outcome: str, *, seen: bool
) -> None:
    run = RunHead(id="1", stack="s", operation=operation, outcome=outcome, started_at=at(0), finished_at=at(10))
    began, ended = (None if one is None else at(one) for one in (began_s, ended_s))
    assert endings.ended_in_a_run(began, ended, [run]) is seen
