"""Killed, and the recovery killed too, at every pair of moments: nothing is lost, and the next try ends it."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import pytest

from tests.counts import COUNTS
from tests.properties.pairs import WITH_PAIRS, Killing

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

A_FEW = 6
"""Pairs of each operation in CI; the same ones each time."""
BEYOND = 1_000_000
"""More effects than any operation has."""


def moments(name: str) -> list[int]:
    """The effects of the recovery, for each effect of the operation that it may be killed at."""
    found: list[int] = []
    for first in count(1):
        killing = Killing(WITH_PAIRS[name], first, 0)
        wrong = killing.wrong()
        if wrong is None:
            return found
        assert not wrong, f"{killing.moments}: {wrong}"
        found.append(killing.recovery)
    raise AssertionError


def meets(name: str, pairs: list[tuple[int, int]], record_property: Any) -> None:
    failures, met = [], {"survived": 0, "not killed twice": 0}
    for first, second in pairs:
        killing = Killing(WITH_PAIRS[name], first, second)
        if wrong := killing.wrong():
            failures.append(f"killed at {first}, then {second} ({killing.moments}): {wrong}")
        met["survived" if len(killing.moments) == 2 else "not killed twice"] += 1
    assert not failures, "\n".join(failures)
    record_property(COUNTS, {"of": f"pairs of kills, {name}", "how": met})


def every(name: str) -> list[tuple[int, int]]:
    return [(first, second) for first, last in enumerate(moments(name), 1) for second in range(1, last + 1)]


def some(name: str) -> list[tuple[int, int]]:
    """A few of them: of the operation's effects, then of those of the recovery that follows."""
    chosen, whole = random.Random(name), Killing(WITH_PAIRS[name], BEYOND, 0)
    assert whole.wrong() is None
    found = []
    for first in chosen.choices(range(1, whole.recovery + 1), k=A_FEW):
        killing = Killing(WITH_PAIRS[name], first, 0)
        wrong = killing.wrong()
        assert not wrong, f"{killing.moments}: {wrong}"
        found += [(first, chosen.randint(1, killing.recovery))] if killing.recovery else []
    return found


@pytest.mark.parametrize("name", WITH_PAIRS)
def test_some_pairs_of_moments(name: str, record_property) -> None:
    meets(name, some(name), record_property)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", WITH_PAIRS)
def test_every_pair_of_moments(name: str, record_property) -> None:
    meets(name, every(name), record_property)
