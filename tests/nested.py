"""The environment of a run of these tests that one of them starts: a run of its own, not a process of the one around."""

from __future__ import annotations

import os

SESSION_VARIABLE = "TESTS_SESSION"
"""Names the session's directory to the workers of pytest-xdist, and marks every process that a test leads to."""
WORKER_VARIABLE = "PYTEST_XDIST_WORKER"


def environment() -> dict[str, str]:
    """This process's, without what pytest and its processes tell one another: home, hub and sockets are the run's."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith("PYTEST_") and key != SESSION_VARIABLE
    }
