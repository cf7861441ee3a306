"""Any exception out of any call of any adapter: committed and told so, or undone, or told as incomplete and finished."""

from __future__ import annotations

import pytest

from moorage.testing import ForeignFault
from tests.properties.foreign import CASES, ERRORS, Met, calls_of

pytestmark = pytest.mark.usefixtures("without_threads_and_time")


def meets_all(name: str, errors_each: int) -> None:
    """Every call of the operation, before and after it is done; each with some of the exceptions, in turn."""
    case, failures, tried = CASES[name], [], 0
    for n, words in enumerate(calls_of(case), start=1):
        for after in (False, True):
            for k in range(errors_each):
                error = ERRORS[(n + after + k) % len(ERRORS)]
                with Met(case, ForeignFault(n, error, after=after)) as met:
                    wrong = met.wrong()
                tried += 1
                if wrong:
                    when = "after" if after else "before"
                    failures.append(f"{name}: {when} call {n}, {words}: {error()!r}: {wrong}")
    assert not failures, f"{len(failures)} of {tried}:\n" + "\n".join(failures)


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_exception_out_of_any_call(name: str) -> None:
    meets_all(name, 1)
