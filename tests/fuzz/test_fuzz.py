"""The kept inputs are taken by every reader; in `make faults` new ones are looked for, guided by coverage."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts import COUNTS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
RUNS = {"snapshot": 15_000, "snapshot_file": 15_000, "ignore_file": 15_000, "env_file": 30_000}
MOST_RUNS, SEED = 60_000, 14


@pytest.mark.parametrize("target", TARGETS)
def test_the_kept_inputs(target, record_property):
    files = sorted((CORPUS / target).iterdir())
    assert files, f"no corpus for {target}"
    for file in files:
        TARGETS[target](file.read_bytes())
    record_property(COUNTS, {"of": "kept inputs of the fuzzer", "how": {target: len(files)}})


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs(target, tmp_path, record_property):
    pytest.importorskip("atheris", reason="there is no atheris for this Python or machine")
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.run",
        target,
        str(RUNS.get(target, MOST_RUNS)),
        str(SEED),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    broken = sorted((tmp_path / "broken").iterdir())
    assert (done.returncode, broken) == (0, []), f"{[one.read_bytes() for one in broken]}\n{done.stderr[-3000:]}"
    told = re.findall(r"#(\d+)\s+DONE\s+(?:cov: (\d+) ft: (\d+) )?corp: (\d+)", done.stderr)
    runs, covered, features, kept = (int(one or 0) for one in told[-1])
    how = {
        f"{target}: runs": runs,
        f"{target}: edges": covered,
        f"{target}: features": features,
        f"{target}: inputs": kept,
    }
    record_property(COUNTS, {"of": "fuzzing", "how": how})
