"""Hypothesis does to one stack whatever it likes, see `transactions.py`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
