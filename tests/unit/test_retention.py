"""What is kept of the past: by number and by age, and never less than somebody still goes by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.model.definition import Service
from moorage.model.generation import GenerationRecord
from moorage.model.state import RunRecord, Span
from moorage.model.step import Operation
from moorage.rules import drift, retention

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STARTED = (Span(step="start web", kind="start", service="web", began_s=0, ended_s=1),)


def run(number, operation="up", outcome="committed", *, days=0.0, services=(), spans=()):
    at = NOW - days * DAY
    return RunRecord(
        id=str(number),
        stack="shop",
        operation=operation,
        pid=1,
        host="h",
        started_at=at,
        arguments={"services": list(services)} if services else {},
        finished_at=at if outcome and outcome != "undo incomplete" else None,
        outcome=outcome,
        spans=spans,
    )


def heads(records):
    return [one.head for one in records]


def left(records, number=3, since=None, lately=NOW - DAY):
    """Ids of what stays. `records`: newest first."""
    gone = {one.id for one in retention.surplus_runs(heads(records), number, since, lately)}
    return [one.id for one in records if one.id not in gone]


class TestRuns:
    def test_by_number(self):
        assert left([run(n) for n in range(6)]) == ["0", "1", "2"]
        assert left([run(n) for n in range(3)]) == ["0", "1", "2"]

    def test_by_age(self):
        assert left([run(n, days=n) for n in range(6)], 10, NOW - 2 * DAY) == ["0", "1", "2"]

    @pytest.mark.parametrize("outcome", [None, "undo incomplete"])
    def test_what_has_not_ended_stays(self, outcome):
        records = [*(run(n) for n in range(5)), run("cut off", "up", outcome, days=400)]
        assert left(records, 1, NOW - DAY) == ["0", "cut off"]

    def test_the_start_that_may_ask_for_approval_stays(self):
        records = [*(run(n, "stop") for n in range(5)), run("undone", outcome="undone"), run("it", days=400)]
        assert left([*records, run("earlier", days=401)], 2, NOW - DAY) == ["0", "1", "undone", "it"]

    def test_the_last_that_has_a_timeline_stays(self):
        records = [run(0), run(1), run("it", spans=STARTED, days=400), run("before", spans=STARTED, days=401)]
        assert left(records, 1, NOW - DAY) == ["0", "it"]

    def test_attempts_to_mend_stay_while_they_count(self):
        tried = [run(n, "heal", services=["web"], days=n / 10) for n in range(5)]
        assert left([*tried, run("old", "heal", services=["web"], days=1.5)], 1) == ["0", "1", "2", "3", "4"]

    def test_of_stacks_that_are_gone_nothing_is_special(self):
        heads = [one.head for one in (run(0, days=1), run(1, "up", None), run(2, days=2), run(3, days=8), run(4))]
        found = retention.surplus_runs_of_gone(heads, 4, NOW - 7 * DAY)
        assert [head.id for head in found] == ["3", "4"]


SERVICES = {
    "db": Service(name="db"),
    "web": Service.model_validate({"name": "web", "depends_on": [{"service": "db"}]}),
    "api": Service(name="api"),
}
RECORDS = st.lists(
    st.builds(
        lambda operation, outcome, services: (operation, outcome, tuple(sorted(services))),
        st.sampled_from(["up", "rollback", "down", "stop", "start", "restart", "heal", "snapshot"]),
        st.sampled_from(["committed", "undone", "kept", "interrupted", "failed", "recovered", None]),
        st.sets(st.sampled_from(sorted(SERVICES))),
    ),
    max_size=40,
)


@given(RECORDS, st.integers(1, 5), st.integers(0, 3))
def test_nobody_who_goes_by_runs_can_tell_that_any_were_forgotten(kinds, number, days):
    records = [
        run(n, operation, outcome, days=n / 4, services=services if operation not in ("up", "rollback", "down") else ())
        for n, (operation, outcome, services) in enumerate(kinds)
    ]
    lately = NOW - timedelta(seconds=drift.FORGOTTEN_S)
    since = NOW - days * DAY if days else None
    kept = [one for one in records if one.id in left(records, number, since, lately)]
    assert drift.resting(heads(kept), SERVICES) == drift.resting(heads(records), SERVICES)
    for service in SERVICES:
        assert drift.attempts(service, heads(kept), NOW) == drift.attempts(service, heads(records), NOW)
    for question in (
        lambda one: one.finished_at is None,
        lambda one: one.finished_at and one.operation in ("up", "rollback", "down"),
        lambda one: one.operation == Operation.UP and one.outcome == "committed",
    ):
        assert next(filter(question, kept), None) == next(filter(question, records), None)
    assert len(kept) <= number + len({(one.operation, one.outcome, one.head.services) for one in records}) + sum(
        one.finished_at is None or one.operation == "heal" for one in records
    )


def generation(number, outcome="superseded", superseded_at=None):
    return GenerationRecord(
        stack="shop",
        number=number,
        digest="d",
        run="r",
        outcome=outcome,
        created_at=NOW - 1000 * DAY,
        superseded_at=superseded_at,
    )


class TestGenerations:
    def test_by_number_but_the_current_one(self):
        records = [generation(n) for n in range(9, 0, -1)]
        assert retention.surplus_generations(records, 2, 5, None) == (4, 3, 1)
        assert retention.surplus_generations(records, None, 5, None) == (4, 3, 2, 1)

    def test_by_the_time_since_it_was_superseded_not_made(self):
        """What ran for years until today can be gone back to."""
        records = [generation(4, "kept"), generation(3, "current", NOW - 50 * DAY), generation(2, superseded_at=NOW)]
        records += [generation(1, superseded_at=NOW - 91 * DAY)]
        assert retention.surplus_generations(records, 3, 5, NOW - 90 * DAY) == (1,)
        assert retention.surplus_generations(records, 3, 5, None) == ()


class TestReports:
    def name(self, stack="shop", days=0.0, run="0a1b"):
        return f"failures/{stack}-{NOW - days * DAY:%Y%m%dT%H%M%S%f}-{run}.json"

    def test_known_by_their_names(self):
        assert retention.report(self.name("a-shop-2")) == (self.name("a-shop-2"), "a-shop-2", NOW)
        for other in ("failures/notes.json", "failures/shop-2026-0a.json", self.name() + ".swp", "else/" + self.name()):
            assert retention.report(other) is None

    def test_by_number_and_by_age(self):
        reports = [retention.report(self.name(days=days)) for days in (3, 0, 2, 1)]
        assert [one.at for one in retention.surplus_reports(reports, 2, None)] == [NOW - 2 * DAY, NOW - 3 * DAY]
        assert [one.at for one in retention.surplus_reports(reports, 9, NOW - 2.5 * DAY)] == [NOW - 3 * DAY]


def test_for_ever():
    assert retention.before(NOW, 0) is None
    assert retention.before(NOW, 2) == NOW - 2 * DAY
