from __future__ import annotations

import itertools
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from moorage.model.event import Action, Event
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.show.progress_estimate import ProgressEstimate

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = [Step(kind=kind, service=name) for name in ("db", "web") for kind in (StepKind.START, StepKind.READY)]


PLAN = Plan(stack="shop", operation=Operation.UP, steps=tuple(STEPS))
PLANNED = Event(at=AT, stack="shop", action=Action.PLANNED, details={"plan": PLAN.model_dump(mode="json")})


def event(action: Action, step: str = "", message: str = "") -> Event:
    return Event(at=AT, stack="shop", action=action, step=step, message=message)


def test_a_run_from_its_first_to_its_last_step():
    advance = ProgressEstimate(began=100.0)
    advance.update(PLANNED, 0.0)
    assert advance.percent(100.0) == 0
    assert advance.words(100.0) == "0 of 4 steps after 0.00 s"
    advance.update(event(Action.STARTED, "start db"), 100.0)
    advance.update(event(Action.DONE, "start db"), 101.0)
    advance.update(event(Action.STARTED, "ready db"), 101.0)
    assert advance.percent(101.0) == 25
    assert advance.words(103.0) == "1 of 4 steps after 3.00 s; ready db (2.00 s)"
    for step in ("ready db", "start web", "ready web"):
        advance.update(event(Action.DONE, step), 104.0)
    assert advance.percent(104.0) == 99, "the rest is the commit's"


def test_it_moves_while_one_step_takes_long():
    advance = ProgressEstimate(began=0.0)
    advance.update(PLANNED, 0.0)
    advance.update(event(Action.STARTED, "ready db"), 0.0)
    seen = [(advance.percent(t), advance.words(t)) for t in range(0, 600, 2)]
    assert all(a != b for a, b in itertools.pairwise(seen))
    assert seen[-1][0] < 25


def test_an_undo_is_said_and_output_is_shown():
    advance = ProgressEstimate(began=0.0)
    advance.update(event(Action.STARTED, "build web"), 0.0)
    advance.update(event(Action.PROGRESS, "build web", "Step 2/9: RUN make\n"), 1.0)
    assert advance.words(2.0) == "0 of 1 step after 2.00 s; build web (2.00 s); Step 2/9: RUN make"
    advance.update(event(Action.NOTICE, message="undoing"), 2.0)
    assert advance.words(2.0).startswith("undoing; ")


@given(
    st.lists(st.tuples(st.sampled_from(list(Action)), st.sampled_from(["", *(s.id for s in STEPS)]), st.floats(0, 9)))
)
def test_it_never_goes_back_nor_past_the_end(story):
    advance, now, last = ProgressEstimate(began=0.0), 0.0, 0.0
    for action, step, pause in story:
        now += pause
        advance.update(event(action, step, "undoing"), now)
        percent = advance.percent(now)
        assert (last if advance.ended_at is None else 0) <= percent <= 99
        assert advance.ended_at in (None, percent), "what comes after a failure is no progress"
        last = percent


def test_a_failure_is_not_as_good_as_done():
    advance = ProgressEstimate(began=0.0)
    advance.update(PLANNED, 0.0)
    for step in ("start db", "ready db", "start web"):
        advance.update(event(Action.DONE, step), 1.0)
    advance.update(event(Action.STARTED, "ready web"), 1.0)
    assert advance.percent(500.0) > 98, "it took very long"
    advance.update(event(Action.FAILED, "ready web"), 500.0)
    advance.update(event(Action.NOTICE, message="undoing"), 500.0)
    for step in ("remove web", "remove db"):
        advance.update(event(Action.DONE, step), 501.0)
    assert advance.percent(502.0) == 75
    assert advance.end() == 75
    assert advance.words(502.0).startswith("undoing; ")


def test_who_waits_says_for_whom():
    advance = ProgressEstimate(began=0.0)
    waiting = Event(at=AT, stack="shop", action=Action.NOTICE, details={"waiting": "waiting: stack shop is held"})
    advance.update(waiting, 1.0)
    assert advance.words(3.0) == "waiting: stack shop is held; 3.00 s so far"
    advance.update(event(Action.NOTICE, message="something else"), 3.0)
    assert advance.words(4.0).startswith("waiting: ")
    advance.update(waiting.model_copy(update={"details": {"waiting": ""}}), 4.0)
    assert advance.words(5.0) == "0 of 0 steps after 5.00 s"
