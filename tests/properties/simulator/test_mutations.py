"""The simulator, and it alone, finds every planted fault; the table is in docs/testing.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts import COUNTS
from tests.properties.simulator import table
from tests.properties.simulator.mutations import MUTATIONS, Mutation

_ROOT = Path(__file__).parents[3]
_MOST = 550
"""Histories that a planted fault may live through."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_the_fault_is_one_of_todays_code(mutation):
    assert mutation.path.read_text().count(mutation.old) == 1
    compile(mutation.planted, str(mutation.path), "exec")


def test_there_are_enough():
    names = [one.name for one in MUTATIONS]
    assert len(names) == len(set(names)) >= 40


def test_the_document_has_all():
    text = (_ROOT / "docs" / "testing.md").read_text()
    assert table.names_in(text) == [one.name for one in MUTATIONS], "`python -m tests.properties.simulator.table`"


def test_one_planted_fault_is_found():
    """One of them each time; all of them in `make faults`."""
    assert _hunt(MUTATIONS[2], 30)["wrong"]


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_every_planted_fault_is_found(mutation, record_property):
    found = _hunt(mutation, _MOST)
    how = "found" if found["wrong"] else "not found"
    record_property(COUNTS, {"of": "planted faults", "how": {how: 1, "histories": found["tried"]}})
    assert found["wrong"]


def _hunt(mutation: Mutation, most: int) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.properties.simulator.hunt", "0", str(most), mutation.name]
    done = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer
