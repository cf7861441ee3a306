"""A run of these tests inside one of them is a run of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import nested
from tests.conftest import ROOT

COLLECT = [
    sys.executable,
    "-m",
    "pytest",
    "-p",
    "no:cacheprovider",
    "--collect-only",
    "-q",
    "tests/unit/test_nested.py",
]


def test_what_takes_itself_for_a_part_of_another_run_is_refused():
    environment = os.environ | {nested.WORKER_VARIABLE: "gw0"}
    done = subprocess.run(COLLECT, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 4
    assert "start this one with tests.nested.environment()" in done.stderr


def test_it_has_nothing_of_the_run_around_it(monkeypatch):
    monkeypatch.setenv(nested.WORKER_VARIABLE, "gw0")
    monkeypatch.setenv(nested.SESSION_VARIABLE, "/nowhere")
    done = subprocess.run(COLLECT, cwd=ROOT, env=nested.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
