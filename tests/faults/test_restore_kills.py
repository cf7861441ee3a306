"""A restore on the real engine is killed at some time, its recovery is killed too; the third process ends it.

What was in the volume is there, or, if it was committed, what was restored: whole, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from moorage.model.request import SnapshotRequest
from moorage.work.operations.snapshot import snapshot
from moorage.work.runs.context import Context
from tests.conftest import run_in
from tests.counts import COUNTS
from tests.faults.stage import CHILD_TIMEOUT_S, Stage
from tests.faults.test_matrix import forget

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

FILES = 12
EACH, ROUNDS = 20, 10
"""Pairs of kills of one round, and rounds, in `make faults`."""
LARGER = 1.15
"""Of the time that it took without a kill: the last moments are among the chosen ones on a busy machine, too."""


class Restoring:
    """A stack with a volume, a snapshot of it, and how long a restore and a recovery take."""

    def __init__(self, stage: Stage, image: str, source: Path, seed: int) -> None:
        self.stage, self.source = stage, source
        self.chosen = random.Random(seed)
        self.counted: Counter[str] = Counter()
        box = {"image": image, "command": ["sleep", "1000"], "volumes": ["data:/data"], "stop_grace_period": "0s"}
        stage.define(box=box)
        stage.do("up")
        self.write("in the snapshot")
        asyncio.run(snapshot(Context(stage.world), SnapshotRequest(stack=stage.name, volume="data", target=source)))
        self.snapshot = self.content()
        self.write("in the volume")
        whole_s = self._took("restore", source=source)
        # Emptied and not filled yet: its recovery has the most to do.
        self.takes_s = {"restore": whole_s, "sweep": whole_s}

    def write(self, word: str) -> None:
        command = f"rm -rf /data/*; for n in $(seq {FILES}); do echo {word} $n > /data/$n; done"
        run_in(self._box(), "sh", "-c", command)

    def content(self) -> str:
        return run_in(self._box(), "sh", "-c", "cd /data && find . -type f -exec sha256sum {} + | sort -k 2")

    def _box(self) -> Any:
        return self.stage.client.containers.get(f"{self.stage.name}-box-1")

    def _took(self, operation: str, **more: Any) -> float:
        began = time.monotonic()
        assert self.stage.fails(operation, None, **more) == 0
        return time.monotonic() - began

    def killed(self, operation: str, **more: Any) -> bool:
        """Do it in a process that is killed some time within what it takes. False: it has ended before."""
        began = time.monotonic()
        child = self.stage.begin(operation, **more)
        child.join(self.chosen.uniform(0, self.takes_s[operation] * LARGER))
        if child.exitcode is not None:  # the machine is less busy than it was
            self.takes_s[operation] = time.monotonic() - began
        child.kill()
        child.join(CHILD_TIMEOUT_S)
        code = child.exitcode
        child.close()
        return bool(code == -9)

    def pair(self) -> str:
        """Empty: nothing is lost, nothing is left."""
        self.write(f"round {self.chosen.random()}")
        before = self.content()
        first = self.killed("restore", source=self.source)
        second = self.killed("sweep") if first else False
        self.counted["killed twice" if second else "killed once" if first else "not killed"] += 1
        self.stage.sweep()
        store = self.stage.world.store
        done = [run for run in store.runs(self.stage.name, 3) if run.operation == "restore"]
        committed = bool(done) and done[0].outcome == "committed" and self.content() == self.snapshot
        if not committed and self.content() != before:
            return f"lost: {self.content()} instead of {before}"
        return self._left()

    def _left(self) -> str:
        stage = self.stage
        folder = stage.home / "snapshots" / stage.name
        if killed := [*folder.glob(".unfinished-*")]:  # a sweep takes these when they have been so for ten minutes
            for one in killed:
                os.utime(one, times=(0, 0))
            stage.sweep()
        files = [path.name for path in folder.glob("*")]
        marks = {"label": f"moorage.helper={stage.name}"}
        helpers = stage.client.containers.list(all=True, ignore_removed=True, filters=marks)
        open_ = stage.world.store.unfinished_runs(stage.name)
        return f"left: {files}, {helpers}, {open_}" if files or helpers or open_ else ""


def meets(restoring: Restoring, pairs: int, record_property: Any) -> None:
    """So many of which both were killed."""
    while restoring.counted["killed twice"] < pairs:
        wrong = restoring.pair()
        assert not wrong, f"{wrong} after {restoring.counted}"
    tried = sum(restoring.counted.values())
    assert tried < pairs * 10
    record_property(COUNTS, {"of": "kills of a restore on the engine", "how": {**restoring.counted, "losses": 0}})


def test_killed_twice(stage, tiny_image, tmp_path, record_property):
    restoring = Restoring(stage, tiny_image, tmp_path / "data.tar.zst", seed=14)
    try:
        meets(restoring, 2, record_property)
    finally:
        forget(stage)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_twice_many_times(stage, tiny_image, tmp_path, record_property, seed):
    restoring = Restoring(stage, tiny_image, tmp_path / "data.tar.zst", seed)
    try:
        meets(restoring, EACH, record_property)
    finally:
        forget(stage)
