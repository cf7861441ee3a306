"""A hundred and fifty hostile snapshots: each is refused with a sentence, in bounded time and memory."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.counts import COUNTS, NOTES
from tests.hostile import archives, judging, measured
from tests.hostile.judging import BAD_INPUT

VERIFY = (sys.executable, "-m", "tests.hostile.verify")
ROOT = Path(__file__).resolve().parents[2]
SEED, IN_ALL, SHARDS = 14, 170, 4

HARMLESS = archives.harmless()
BY_HAND = archives.by_hand()
ALL = {**BY_HAND, **HARMLESS, **archives.generated(SEED, IN_ALL - len(BY_HAND) - len(HARMLESS))}
IN_CI = (
    "a pipe", "a device", "a terabyte of nothing", "a terabyte behind a good one", "a hundred gigabytes of zeros",
    "a manifest of a gigabyte", "a header of a terabyte", "digits without end", "records of digits", "a chain of attributes",
    "headers for all", "sparse 1.0, a map of gigabytes", "sparse, old, without end", "size: negative", "time: infinite",
    "half a million folders in a name", "long links", "an escape in a name", "checksum: a pipe", "checksum: a device",
)  # fmt: skip


@pytest.mark.parametrize("name", IN_CI)
def test_one_of_each_kind(name, tmp_path, record_property):
    complaints, found = _tried(name, tmp_path)
    assert not complaints, complaints
    record_property(COUNTS, {"of": "hostile snapshots", "how": found})


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_all(shard, tmp_path, record_property):
    complaints: list[str] = []
    counted: Counter[str] = Counter()
    for number, name in enumerate(list(ALL)[shard::SHARDS]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found, how = _tried(name, folder)
        complaints += found
        counted.update(how)
    record_property(COUNTS, {"of": "hostile snapshots", "how": dict(counted)})
    record_property(NOTES, {"of": "hostile snapshots", "lines": complaints})
    assert not complaints, "\n".join(complaints)


def _tried(name: str, folder: Path) -> tuple[list[str], dict[str, int]]:
    """What is wrong with how a snapshot is taken, and what came of it."""
    place, beside = folder / "place", folder / "beside"
    place.mkdir()
    beside.mkdir()
    path = place / "data.tar.zst"
    ALL[name](path)
    there = sorted(place.iterdir())
    taken = measured.run([*VERIFY, str(path)], ROOT, {**os.environ, "MOORAGE_HOME": str(folder / "home")}, beside)
    allowed = (0,) if name in HARMLESS else BAD_INPUT if name in BY_HAND else (0, *BAD_INPUT)
    complaints = [f"{name}: {one}" for one in judging.wrong(taken, allowed)]
    if sorted(place.iterdir()) != there:
        complaints.append(f"{name}: left {sorted(place.iterdir())}")
    outcome = "read" if taken.code == 0 else "refused"
    return complaints, {"snapshots": 1, outcome: 1, "at fault": int(bool(complaints))}


def test_there_are_as_many_as_promised():
    assert len(ALL) == IN_ALL
    assert set(IN_CI) <= ALL.keys()
