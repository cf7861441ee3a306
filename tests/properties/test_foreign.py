"""Any exception out of any call of any adapter: committed and told so, or undone, or told as incomplete and finished."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from moorage.testing import ForeignFault
from tests.properties.foreign import CASES, ERRORS, Met, calls_of, calls_of_recovery

pytestmark = pytest.mark.usefixtures("without_threads_and_time")


PARTS = 6
"""What takes minutes, in so many tests for each operation: they share the processors, and none takes too long for one."""


def faults(calls: list[str], errors_each: int, step: int = 1, first: int = 0) -> Iterator[tuple[str, ForeignFault]]:
    """Out of every `step`-th call come so many of the exceptions, in turn; before it is done, after it, or (0) by turns."""
    for n, words in list(enumerate(calls, start=1))[first::step]:
        for after in (False, True) if errors_each else (n // step % 2 == 0,):
            for k in range(errors_each or 1):
                error = ERRORS[(n + after + k) % len(ERRORS)]
                yield (
                    f"{error()!r} {'after' if after else 'before'} call {n}, {words}",
                    ForeignFault(n, error, after=after),
                )


def meets_all(name: str, errors_each: int, step: int, first: int = 0) -> None:
    """The operation meets them all."""
    failures = []
    for words, fault in faults(calls_of(CASES[name]), errors_each, step, first):
        with Met(CASES[name], fault) as met:
            if wrong := met.wrong():
                failures.append(f"{words}: {wrong}")
        assert fault.struck, words
    assert not failures, "\n".join(failures)


def recovers_from_all(name: str, errors_each: int, points: int, step: int, first: int = 0) -> None:
    """It dies at every `points`-th effect; the recovery by the next process meets them all."""
    failures, at = [], 0
    for at in count(1 + first, points):
        calls = calls_of_recovery(CASES[name], at)
        for words, fault in faults(calls, errors_each, step):
            with Met(CASES[name], fault) as met:
                met.dies(at)
                if wrong := met.wrong_after_recovery():
                    failures.append(f"died at {at}; {words}: {wrong}")
        if not calls:
            break
    assert at > 1
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_exception_out_of_calls(name: str) -> None:
    """Out of every third; of them all in `make faults`."""
    meets_all(name, 0, step=3)


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_exception_in_the_recovery(name: str) -> None:
    recovers_from_all(name, 0, points=13, step=16)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", CASES)
def test_every_foreign_exception_out_of_any_call(name: str, part: int) -> None:
    meets_all(name, len(ERRORS), step=PARTS, first=part)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", CASES)
def test_a_foreign_exception_in_recovering_from_any_death(name: str, part: int) -> None:
    recovers_from_all(name, 1, points=PARTS, step=2, first=part)
