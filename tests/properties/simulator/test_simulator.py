"""Several processes at one machine, under one seed, see `judge.py` for what has to be so."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from moorage.errors import BusyError
from moorage.testing import ManualClock, MemoryLocks
from tests.counts import COUNTS
from tests.properties.simulator.aimed import SEEDS
from tests.properties.simulator.faults import Kind
from tests.properties.simulator.history import History, Order, kept, made, play, read, shrunk

_FEW = 40
_SHARDS, _MANY = 6, 500
_ID = re.compile(r"\b[0-9a-f]{12}\b|pid=\d+")


def _played(seeds: range, record_property: pytest.RecordProperty) -> None:
    counts: Counter[str] = Counter()
    began_s = time.process_time()
    wrong = []
    for seed in seeds:
        found = play(made(seed))
        counts += Counter({"histories": 1, "effects": found.effects}) + Counter(
            {f"× {kind}": number for kind, number in found.faults.items()}
        )
        if found.wrong:
            wrong.append(f"seed {seed}: {found.wrong}")
    counts["seconds of CPU"] = round(time.process_time() - began_s)
    record_property(COUNTS, {"of": "simulated processes", "how": dict(counts)})
    assert wrong == [], "`shrunk(made(SEED), …)` makes it small; keep it in kept.jsonl"


@pytest.mark.parametrize("first", [0, SEEDS.start], ids=["random", "aimed"])
def test_a_few_histories(first, record_property):
    _played(range(first, first + _FEW), record_property)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(_SHARDS))
def test_many_histories(shard, record_property):
    _played(range(1000 + shard * _MANY, 1000 + (shard + 1) * _MANY), record_property)


@pytest.mark.parametrize(("was", "history"), kept(), ids=lambda one: one[:60] if isinstance(one, str) else "")
def test_what_was_wrong_once(was, history):
    """Each was wrong with a fault in Moorage: one that was mended, or that is planted (`mutations.py`)."""
    assert play(history).wrong is None, was


def test_a_seed_is_always_the_same_history():
    first, again = (play(made(7)) for _ in range(2))
    assert [_ID.sub("", line) for line in first.trace] == [_ID.sub("", line) for line in again.trace]
    assert first.effects == again.effects > 20


def test_a_history_is_the_same_from_its_text():
    assert read(made(11).text()) == made(11)


def test_histories_have_all_kinds_of_faults():
    meant = {kind for seed in range(300) for orders in made(seed).actors for one in orders for kind, _ in one.faults}
    assert meant == {kind.value for kind in Kind}


def test_shrinks_to_what_matters():
    """Whatever else there is goes, as long as it is wrong without."""
    orders = (Order("up", "shop"), Order("down", "shop", {}, (("refused", 3), ("refused", 9))), Order("sweep", "shop"))
    big = History(1, 0.3, ((Order("stop", "cart"),), orders, (Order("start", "cart"),)))

    def is_wrong(history: History) -> bool:
        return any(one.verb == "down" and ("refused", 9) in one.faults for row in history.actors for one in row)

    small = shrunk(big, is_wrong)
    assert small == History(1, 0.0, ((Order("down", "shop", {}, (("refused", 9),)),),), ())


def test_the_judge_sees_who_goes_without_a_lock(monkeypatch):
    """A check of the check: a lock that excludes nobody."""
    monkeypatch.setattr("moorage.testing.locks.MemoryLock.acquire", lambda lock, *_: lock)
    assert (play(made(0)).wrong or "").startswith("apart")


def test_the_dead_have_no_locks():
    locks = MemoryLocks(ManualClock())
    dying, living = object(), object()
    mine = locks.of(dying)("shop")
    mine.acquire("up", 0)
    with pytest.raises(BusyError, match="up is running"):
        locks.of(living)("shop").acquire("down", 0)
    locks.end(dying)
    theirs = locks.of(living)("shop")
    theirs.acquire("down", 0)
    mine.release()
    assert locks.owner("shop") is living
