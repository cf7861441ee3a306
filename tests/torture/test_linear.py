"""The judge of the torture is judged: histories that it has to accept, and such that it has to reject."""

from __future__ import annotations

import random

import pytest

from tests.torture.history import Operation, Outcome, Recorder, read, surroundings
from tests.torture.linear import check
from tests.torture.stack_model import ABSENT, EXCLUSIVE, PARTIAL, READERS, RUNNING, STOPPED, Stack, StackModel

OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO


def op(verb, invoked, returned, outcome=OK, saw=None, **given):
    return Operation("c", verb, "s", given, invoked, returned, outcome, saw or {})


def up(invoked, returned, version, generation=None, outcome=OK):
    return op("up", invoked, returned, outcome, {"generation": generation}, version=version, workers=1)


def ask(invoked, returned, version, value=""):
    return op("ask", invoked, returned, OK, {"version": version, "value": value})


def status(invoked, returned, generation, state=RUNNING):
    return op("status", invoked, returned, OK, {"generation": generation, "state": state})


def history(invoked, returned, current, *numbers):
    return op("history", invoked, returned, OK, {"generation": current, "numbers": list(numbers)})


def write(invoked, returned, value, outcome=OK):
    return op("write", invoked, returned, outcome, value=value)


def judged(*operations, begin=None):
    many = sorted(operations, key=lambda one: one.invoked)
    surroundings(many, READERS, EXCLUSIVE, until=1000.0)
    return check(many, StackModel(), frozenset({begin or Stack()}))


ACCEPTED = {
    "nothing": [],
    "one after the other": [up(0, 1, 1, 1), ask(2, 3, 1), up(4, 5, 2, 2), status(6, 7, 2)],
    "at once, in the other order": [up(0, 9, 1, 2), up(1, 8, 2, 1), status(10, 11, 2), ask(12, 13, 1)],
    "killed, but committed": [up(0, 1, 1, 1), up(2, 3, 2, outcome=INFO), ask(4, 5, 2), status(6, 7, 2)],
    "killed, and undone": [up(0, 1, 1, 1), up(2, 3, 2, outcome=INFO), up(4, 5, 1, 1), ask(6, 7, 1)],
    "failed, and undone": [up(0, 1, 1, 1), up(2, 3, 2, outcome=FAIL), ask(4, 5, 1), status(6, 7, 1)],
    "the new one answers before it is committed": [up(0, 1, 1, 1), up(2, 9, 2, outcome=FAIL), ask(3, 4, 2)],
    "a number is skipped": [up(0, 1, 1, 1), up(2, 3, 2, 5)],
    "the same again": [up(0, 1, 1, 1), up(2, 3, 1, 1)],
    "the same again, built again": [up(0, 1, 1, 1), up(2, 3, 1, 2), history(4, 5, 2, 1, 2)],
    "rolled back": [up(0, 1, 1, 1), up(2, 3, 2, 2), op("rollback", 4, 5, OK, {"generation": 1}), ask(6, 7, 1)],
    "down keeps the value": [up(0, 1, 1, 1), write(2, 3, "a"), op("down", 4, 5), up(6, 7, 1, 1), ask(8, 9, 1, "a")],
    "down -v does not": [up(0, 1, 1, 1), write(2, 3, "a"), op("down", 4, 5, volumes=True), up(6, 7, 1), ask(8, 9, 1)],
    "a write of unknown fate, late": [up(0, 1, 1), write(2, 3, "a", INFO), ask(4, 5, 1), ask(6, 7, 1, "a")],
    "restored": [up(0, 1, 1), write(2, 3, "a"), op("restore", 4, 5, value="b"), ask(6, 7, 1, "b")],
    "the engine died": [up(0, 1, 1, 1), op("engine", 2, 3), status(4, 5, 1, STOPPED)],
    "history knows the number": [up(0, 1, 1, 1), up(2, 3, 2, outcome=INFO), history(4, 5, 3, 1, 3), ask(6, 7, 2)],
    "a start broke off": [up(0, 1, 1, 1), op("stop", 2, 3), op("start", 4, 5, INFO), status(6, 7, 1, "degraded")],
}

REJECTED = {
    "a committed generation is lost": ([up(0, 1, 1, 1), up(2, 3, 2, 2), ask(4, 5, 1)], "ask"),
    "a number goes back": ([up(0, 1, 1, 2), up(2, 3, 2, 1)], "up"),
    "one number for two": ([up(0, 1, 1, 1), up(2, 3, 2, 1)], "up"),
    "what failed is there": ([up(0, 1, 1, 1), up(2, 3, 2, outcome=FAIL), ask(4, 5, 2)], "ask"),
    "a value is lost": ([up(0, 1, 1), write(2, 3, "a"), ask(4, 5, 1)], "ask"),
    "a value comes back": ([up(0, 1, 1), write(2, 3, "a"), write(4, 5, "b"), ask(6, 7, 1, "a")], "ask"),
    "a change costs the value": ([up(0, 1, 1), write(2, 3, "a"), up(4, 9, 2), ask(5, 6, 2)], "ask"),
    "a killed write happens twice": (
        [up(0, 1, 1), write(2, 3, "a", INFO), ask(4, 5, 1, "a"), write(6, 7, "b"), ask(8, 9, 1, "a")],
        "ask",
    ),
    "restored, and not there": (
        [up(0, 1, 1), write(2, 3, "a"), op("restore", 4, 5, value="b"), ask(6, 7, 1, "a")],
        "ask",
    ),
    "a snapshot of what was before": (
        [up(0, 1, 1), write(2, 3, "a"), write(4, 5, "b"), op("snapshot", 6, 7, OK, {"value": "a"})],
        "snapshot",
    ),
    "it runs after down": ([up(0, 1, 1, 1), op("down", 2, 3), status(4, 5, 1, RUNNING)], "status"),
    "it answers after stop": ([up(0, 1, 1, 1), op("stop", 2, 3), ask(4, 5, 1)], "ask"),
    "half of it runs": ([up(0, 1, 1, 1), status(2, 3, 1, "degraded")], "status"),
    "an undo leaves half of it": ([up(0, 1, 1), up(2, 3, 2, outcome=FAIL), status(4, 5, 1, STOPPED)], "status"),
    "what nobody asked for": ([up(0, 1, 1), ask(2, 3, 7)], "ask"),
    "back to what never was": ([up(0, 1, 1, 1), op("rollback", 2, 3, OK, {"generation": 1})], "rollback"),
    "history has one too many": ([up(0, 1, 1, 1), history(2, 3, 2, 1, 2)], "history"),
    "history has lost one": ([up(0, 1, 1, 1), up(2, 3, 2, 2), history(4, 5, 2, 2)], "history"),
    "history has another current one": ([up(0, 1, 1, 1), up(2, 3, 2, 2), history(4, 5, 1, 1, 2)], "history"),
    "a start of nothing": ([op("start", 0, 1)], "start"),
    "on record before it is": ([status(0, 1, 1, ABSENT)], "status"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    assert judged(*ACCEPTED[name]).is_linearizable, name


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(name):
    many, stuck = REJECTED[name]
    verdict = judged(*many)
    assert not verdict.is_linearizable, name
    assert (verdict.stuck.verb, verdict.states) == (stuck, frozenset())
    assert verdict.before, "it says what was possible until then"


def test_what_is_open_at_the_end_may_have_happened():
    """The next part of a history begins with each of its states."""
    found = judged(up(0, 1, 1, 1), write(2, 3, "a", INFO), up(4, 5, 2, outcome=INFO)).states
    assert {(one.definition(), one.value) for one in found} == {
        (definition, value) for definition in ((1, 1), (2, 1)) for value in ("", "a")
    }


def test_a_killed_change_may_be_seen_halfway_until_the_next_one_is_done():
    killed, later = up(2, 3, 2, outcome=INFO), up(6, 7, 1, 1)
    assert judged(up(0, 1, 1, 1), killed, ask(4, 5, 2), later, ask(8, 9, 1)).is_linearizable
    assert not judged(up(0, 1, 1, 1), killed, later, ask(8, 9, 1), ask(10, 11, 2), ask(12, 13, 1)).is_linearizable


@pytest.mark.parametrize("seed", range(20))
def test_histories_of_a_stack_that_keeps_its_word(seed):
    """Made by a model stack whose operations take effect somewhere in between: accepted. With one lost write: rejected."""
    order, rng, value, many = 0.0, random.Random(seed), "", []
    many.append(up(0, 1, 1, 1))
    for number in range(60):
        order += 2
        reach = rng.uniform(0.1, 5.0)
        if rng.random() < 0.5:
            value = f"v{number}"
            many.append(write(order - reach, order + reach, value))
        else:
            many.append(ask(order - reach, order + reach, 1, value))
    last = order + 10
    assert judged(*many, write(last, last + 1, "last"), ask(last + 2, last + 3, 1, "last")).is_linearizable
    lost = judged(*many, write(last, last + 1, "last"), ask(last + 2, last + 3, 1, value))
    assert lost.stuck is not None
    assert lost.stuck.saw["value"] == value


def test_a_killed_change_does_not_happen_after_the_next_one():
    killed, later = up(2, 3, 2, outcome=INFO), op("stop", 4, 5)
    assert judged(up(0, 1, 1, 1), killed, later, up(6, 7, 1, 1), ask(8, 9, 1)).is_linearizable
    assert not judged(up(0, 1, 1, 1), killed, later, up(6, 7, 1, 1), ask(8, 9, 1), ask(10, 11, 2)).is_linearizable
    by_worker = op("up", 2, 3, INFO, version=2, workers=1, hub=True)
    assert judged(up(0, 1, 1, 1), by_worker, later, up(6, 7, 1, 1), ask(8, 9, 2)).is_linearizable


def test_many_of_unknown_fate_can_be_decided():
    many = [up(0, 1, 1, 1), *(write(2 + n, 3 + n, f"w{n}", INFO) for n in range(30)), ask(50, 51, 1, "w7")]
    assert judged(*many).is_linearizable
    assert not judged(*many, ask(52, 53, 1, "w7"), write(54, 55, "x"), ask(56, 57, 1, "w7")).is_linearizable


def test_partial_is_left_by_what_is_done():
    begin = Stack(((1, (1, 1)),), 0, PARTIAL)
    assert {one.phase for one in judged(op("start", 0, 1), begin=begin).states} == {RUNNING}
    assert {one.phase for one in judged(op("down", 0, 1), begin=begin).states} == {ABSENT}


def test_a_history_is_read_back_from_its_file(tmp_path):
    recorder = Recorder(tmp_path / "history.jsonl")
    operation = recorder.begin(Operation("1", "up", "shop", {"version": 3, "workers": 1}))
    recorder.note("engine", how="SIGKILL")
    operation.outcome, operation.saw = OK, {"generation": 7}
    recorder.end(operation)
    recorder.close()
    assert read((tmp_path / "history.jsonl").read_text().splitlines()) == [operation] == recorder.take()
