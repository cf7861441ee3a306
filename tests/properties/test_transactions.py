"""Hypothesis does to one stack whatever it likes, see `transactions.py`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

FEW = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TestTransactions = Transactions.TestCase
TestTransactions.settings = FEW


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_many_transactions() -> None:
    """Other examples each time, where the few are the same each time in CI."""
    run_state_machine_as_test(Transactions, settings=settings(FEW, max_examples=500, derandomize=False))
