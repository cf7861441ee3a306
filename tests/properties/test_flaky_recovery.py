"""A recovery in which one effect fails for a moment: it is done again, and nothing is left half done."""

from __future__ import annotations

import asyncio

import pytest

from moorage.model.request import SweepRequest
from moorage.testing import fail_at
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context
from tests.properties.memory import service
from tests.properties.test_transaction_cases import brought_up
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

DIES_AT = (10, 14, 18, 20)
"""Effects of the change: in its creation of containers, and at their starts."""


@pytest.mark.parametrize("dies_at", DIES_AT)
def test_any_one_effect_of_a_recovery_fails(dies_at: int) -> None:
    wrong, n, struck = [], 0, True
    while struck:
        n += 1
        stack = Transactions()
        stack.begin()
        try:
            before = brought_up(stack)
            stack.write({"db": service(), "web": service(image="far:1", ports=["8001:80"])})
            stack.dies(stack.up, dies_at)
            fault = fail_at(n)
            found = asyncio.run(sweep(Context(stack.world(fault)), SweepRequest()))
            struck = fault.struck
            asyncio.run(sweep(Context(stack.world()), SweepRequest()))
            if stack.look() != before:
                wrong.append(f"{fault.effects[n - 1] if struck else 'none'}: {[one.error for one in found]}")
        finally:
            stack.teardown()
    assert n > 1, "the recovery has effects"
    assert not wrong, "\n".join(wrong)
