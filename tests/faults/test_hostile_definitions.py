"""Three hundred hostile projects: each is read or refused as documented, in bounded time and memory, and nothing stays."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.counts import COUNTS, NOTES
from tests.hostile import definitions, judging, measured
from tests.hostile.judging import BAD_INPUT

MOORAGE = (sys.executable, "-P", "-m", "moorage")
SEED, IN_ALL, SHARDS = 20, 320, 16

BY_HAND = definitions.by_hand()
ALL = {**BY_HAND, **definitions.generated(SEED, IN_ALL - len(BY_HAND))}
IN_CI = (
    "alias bomb", "anchor in itself", "deep list", "very deep extension", "100 000 services", "service with an escape",
    "ready: nested stars", "ready: timeout of years", "x-moorage: a list", "context: the pipe in it", "context: a terabyte",
    "context: forty stars", "context: ignore file is a device", "context: /proc", "context: names that are not UTF-8",
    "env file: a pipe", ".env: a device", ".env: a gigabyte", "include: in a circle", ".git: megabytes",
)  # fmt: skip


@pytest.mark.parametrize("name", IN_CI)
def test_one_of_each_kind(name, tmp_path, record_property):
    complaints, found = _tried(name, tmp_path, verbs=("plan",))
    assert not complaints, complaints
    record_property(COUNTS, {"of": "hostile definitions", "how": found})


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_all(shard, tmp_path, record_property):
    complaints: list[str] = []
    counted: Counter[str] = Counter()
    for number, name in enumerate(list(ALL)[shard::SHARDS]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found, how = _tried(name, folder, verbs=("plan", "config", "up"))
        complaints += found
        counted.update(how)
    record_property(COUNTS, {"of": "hostile definitions", "how": dict(counted)})
    record_property(NOTES, {"of": "hostile definitions", "lines": complaints})
    assert not complaints, "\n".join(complaints)


def _tried(name: str, folder: Path, verbs: tuple[str, ...]) -> tuple[list[str], dict[str, int]]:
    """What is wrong with how Moorage takes a project, and how often what was done."""
    project, home = folder / "hostile", folder / "home"
    project.mkdir()
    home.mkdir()
    ALL[name](project)
    environment = {
        **os.environ,
        "MOORAGE_HOME": str(home),
        "MOORAGE_API_URL": "http://127.0.0.1:9/api",  # so that no hub is started, should one get that far
        "MOORAGE_COMPOSE_TIMEOUT_S": "10",  # what waits for ever is given up sooner
        "HOSTILE_TEST": str(folder),
    }
    complaints: list[str] = []
    counted: Counter[str] = Counter()
    refused = False
    for verb in verbs:
        if verb == "up" and not refused:  # nothing hostile is to come up
            continue
        beside = folder / verb
        beside.mkdir()
        taken = measured.run([*MOORAGE, verb], project, environment, beside)
        refused = refused or (verb == "plan" and taken.code != 0)
        counted[f"{verb}: {'read' if taken.code == 0 else 'refused'}"] += 1
        complaints += [
            f"{name}: {verb}: {wrong}" for wrong in judging.wrong(taken, BAD_INPUT if verb == "up" else (0, *BAD_INPUT))
        ]
    left = [file.name for file in home.rglob("*") if file.is_file() and not file.name.startswith("hub.db")]
    complaints += [f"{name}: left: {one}" for one in (*left, *_processes(str(folder)))]
    return complaints, {**counted, "projects": 1, "at fault": int(bool(complaints))}


def _processes(mark: str) -> list[str]:
    """Processes that still have the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"HOSTILE_TEST={mark}\0".encode() in (entry / "environ").read_bytes():
                    found.append(f"process {(entry / 'cmdline').read_text()[:80]!r}")
            except OSError:
                continue
    return found


def test_there_are_as_many_as_promised():
    assert len(ALL) == IN_ALL
    assert set(IN_CI) <= ALL.keys()
    assert json.dumps(sorted(definitions.generated(1, 5))) == json.dumps(sorted(definitions.generated(1, 5)))
