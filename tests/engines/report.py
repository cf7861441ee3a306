"""A plugin of pytest, `-p tests.engines.report`: the outcome of each test, as lines of JSON in $ENGINES_REPORT."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that is right is told of once; one that fails, or leaves something, by what it says."""
    if report.when == "call" or report.outcome != "passed":
        line = {"test": report.nodeid, "outcome": report.outcome, "words": report.longreprtext}
        with Path(os.environ["ENGINES_REPORT"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
