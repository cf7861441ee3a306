"""`sweep` over several stacks: what one of them fails by, or waits for, stops no other. On a machine in memory."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.files import LocalFiles
from moorage.errors import EngineError
from moorage.model.finding import Leftover
from moorage.model.request import SweepRequest
from moorage.model.state import StackRecord
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryStore, fake_world
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context

NAMES = ("bad", "hangs", "one", "three", "two")


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """Five stacks on record, whose directories are gone, and were when a sweep looked a day ago."""
    clock = ManualClock()
    store = MemoryStore()
    for name in NAMES:
        path = str(tmp_path / name)
        store.save_stack(StackRecord(name=name, path=path, created_at=clock.now()))
        store.note_missing(name, path, clock.now() - timedelta(days=1))
    return fake_world(FakeMachine(clock), store, MemoryFiles())


class Engine:
    """One stack is refused, and one does not answer until all others are swept."""

    def __init__(self, world: Any) -> None:
        self.world, self.others_done = world, threading.Event()
        self.waited: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world.engine, name)

    def observe(self, stack: str) -> Any:
        if stack == "bad":
            raise EngineError("the engine refuses it")
        if stack == "hangs" and not self.waited:
            self.waited.append(self.others_done.wait(60))
        return self.world.engine.observe(stack)


class Store:
    """Says when only the two are left."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine.world.store, name)

    def forget_stack(self, name: str) -> None:
        self.engine.world.store.forget_stack(name)
        if self.engine.world.store.names() == {"bad", "hangs"}:
            self.engine.others_done.set()


def test_one_that_fails_and_one_that_hangs_stop_no_other(world: Any) -> None:
    engine = Engine(world)
    found = asyncio.run(sweep(Context(replace(world, engine=engine, store=Store(engine))), SweepRequest()))
    assert engine.waited == [True], "the others were swept while it hung"
    assert {one.stack for one in found if one.swept and one.kind == Leftover.STACK} == {*NAMES} - {"bad"}
    assert [one.error for one in found if one.stack == "bad"] == ["the engine refuses it"]
    assert world.store.names() == {"bad"}


def test_a_clock_that_was_set_back_ends_nothing(world: Any) -> None:
    """What was first missed in the future was first missed now."""
    record = world.store.stack("one")
    world.store.forget_missing("one")
    world.store.note_missing("one", record.path, world.clock.now() + timedelta(days=365))
    found = asyncio.run(sweep(Context(world), SweepRequest()))
    (finding,) = [one for one in found if one.stack == "one"]
    assert not finding.swept
    assert finding.left
    world.clock.advance(world.settings.sweep_again_s)
    found = asyncio.run(sweep(Context(world), SweepRequest()))
    assert [one.swept for one in found if one.stack == "one"] == [True]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_killed_writes_have_left_goes(world: Any, tmp_path: Path, dry_run: bool) -> None:
    files = LocalFiles(tmp_path / "home")
    files.write("failures/shop.json", "{}")
    left = files.root / "failures" / ".unfinished-1"
    left.write_text("half")
    os.utime(left, times=(0, 0))
    request = SweepRequest(dry_run=dry_run)
    found = asyncio.run(sweep(Context(replace(world, files=files)), request))
    (told,) = (one for one in found if one.kind == Leftover.UNFINISHED)
    assert (told.what, told.swept, left.exists()) == ("1", not dry_run, dry_run)
