"""What is on record does not grow: a stack that comes, changes, fails, and goes, again and again, on the real registry.

Room is made by each run; `sweep` is not needed for it, and finds nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from moorage.adapters.files import LocalFiles
from moorage.adapters.registry.store import SqliteStore
from moorage.errors import RunError
from moorage.model.definition import Source
from moorage.model.finding import Leftover
from moorage.model.request import DownRequest, RollbackRequest, StartRequest, StopRequest, SweepRequest
from moorage.settings import Settings
from moorage.testing import FakeMachine, fake_world
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.down import down
from moorage.work.operations.rollback import rollback
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from tests.properties.memory import CLOCK, SLEEP

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

CYCLES = [60, pytest.param(200, marks=pytest.mark.exhaustive)]
SETTLED = 40
"""Cycles after which all bounds are reached."""
DAY_S = 86_400.0
UNBOUNDED = {
    "keep_runs": 10_000,
    "keep_failures": 10_000,
    "keep_generations": 10_000,
    "keep_timings": 1000,
    "keep_days": 0,
    "keep_gone_days": 0,
}


class Place:
    """A machine in memory, with a home on the disk."""

    def __init__(self, folder):
        self.home = folder / "home"
        self.project = folder / "shop"
        self.project.mkdir()
        self.machine = FakeMachine(CLOCK)
        self.machine.add_image("app:1", SLEEP)
        self.machine.add_image("fails:1", ["sh", "-c", "echo no; exit 3"])
        bounds = {"keep_runs": 20, "keep_failures": 3, "keep_generations": 3, "keep_timings": 10, "keep_days": 30}
        self.settings = Settings(settle_s=0, lock_timeout_s=0, home=self.home, **bounds)

    def run(self, act):
        """Do it as a process of its own."""
        store = SqliteStore(self.home / "hub.db")
        try:
            return asyncio.run(act(fake_world(self.machine, store, LocalFiles(self.home), settings=self.settings)))
        finally:
            store.close()

    def up(self, name, number, image="app:1"):
        service = {"image": image, "environment": {"NUMBER": str(number)}, "ports": ["8000:80"]}
        text = {"name": name, "services": {"web": service, f"job{number}": {"image": "app:1"}}}
        (self.project / "compose.yaml").write_text(json.dumps(text))
        self.run(lambda world: up(Context(world), UpRequest(source=Source(directory=self.project))))

    def rows(self):
        with closing(sqlite3.connect(self.home / "hub.db")) as connection:
            tables = ("stacks", "generations", "leases", "runs", "timings")
            return {one: connection.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for one in tables}

    def files(self, folder):
        return sorted(one.name for one in (self.home / folder).rglob("*") if one.is_file())

    def size(self):
        """Bytes of the registry, with what SQLite keeps beside it."""
        return sum(one.stat().st_size for one in self.home.glob("hub.db*"))

    def cycle(self, name, number):
        """Comes, changes, goes; each few times it also fails, goes back, rests."""
        self.up(name, 2 * number)
        if number % 4 == 0:
            self.fail(name)
        self.up(name, 2 * number + 1)
        if number % 5 == 0:
            self.run(lambda world: rollback(Context(world), RollbackRequest(stack=name)))
            self.run(lambda world: stop(Context(world), StopRequest(stack=name, services=("web",))))
            self.run(lambda world: start(Context(world), StartRequest(stack=name)))
        self.run(lambda world: down(Context(world), DownRequest(stack=name)))
        CLOCK.advance(DAY_S)

    def fail(self, name):
        with pytest.raises(RunError):
            self.up(name, -1, "fails:1")

    def swept(self, *, dry_run=False):
        return self.run(lambda world: sweep(Context(world), SweepRequest(dry_run=dry_run)))


@pytest.fixture
def place(tmp_path):
    """In memory where there is such a disk: whether it lasts through a power cut is not looked at, and takes long."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Place(Path(folder))


@pytest.mark.parametrize("cycles", CYCLES)
def test_a_stack_that_comes_and_goes(place, cycles):
    """The file does not shrink: what is freed in it is used again. So it grows until the bounds are reached."""
    sizes = []
    for number in range(cycles):
        place.cycle("shop", number)
        sizes.append(place.size())
    rows = place.rows()
    assert rows["timings"] <= 10 * 1 + 30 * 3, "of the service that stays by number, of those renamed by age"
    assert {**rows, "timings": 0} == {"stacks": 1, "generations": 3, "leases": 1, "runs": 20, "timings": 0}
    assert place.files("generations") == [
        f"{n}.{end}" for n in range(2 * cycles - 2, 2 * cycles + 1) for end in ("compose.json", "json")
    ]
    assert len(place.files("failures")) == 3
    assert max(sizes) <= 1.1 * max(sizes[:SETTLED]), sizes
    assert place.swept() == []


@pytest.mark.parametrize("cycles", CYCLES)
def test_stacks_that_are_gone(place, cycles):
    """As of `moorage ci`: each with a name of its own, up once, and nothing of it is to stay."""
    sizes = []
    for number in range(cycles):
        name = f"ci-{number}"
        place.fail(name)
        place.up(name, number)
        gone = DownRequest(stack=name, volumes=True, release_ports=True)
        place.run(lambda world, gone=gone: down(Context(world), gone))
        sizes.append(place.size())
    assert place.rows() == {"stacks": 0, "generations": 0, "leases": 0, "timings": 0, "runs": 21}
    assert len(place.files("failures")) == 3
    assert place.files("generations") == []
    assert max(sizes) <= 1.1 * max(sizes[:SETTLED]), sizes


def test_what_was_there_before_there_were_bounds_goes_with_a_sweep(place):
    """And is told first, without being touched."""
    place.settings = place.settings.model_copy(update=UNBOUNDED)
    for number in range(8):
        place.cycle("shop", number)
        place.fail(f"gone-{number}")
    before, failures = place.rows(), place.files("failures")
    bounds = {"keep_runs": 5, "keep_failures": 1, "keep_generations": 2, "keep_days": 3}
    place.settings = place.settings.model_copy(update=bounds)
    told = place.swept(dry_run=True)
    assert [(one.kind, one.stack) for one in told] == [
        (Leftover.GENERATIONS, "shop"),
        (Leftover.RUNS, "shop"),
        (Leftover.TIMINGS, "shop"),
        (Leftover.REPORTS, "shop"),
        (Leftover.RUNS, ""),
        (Leftover.REPORTS, ""),
    ]
    assert (place.rows(), place.files("failures")) == (before, failures)
    done = place.swept()
    assert [(one.kind, one.what) for one in done] == [(one.kind, one.what) for one in told]
    assert all(one.swept for one in done)
    assert place.swept() == []
    assert [one[:6] for one in place.files("failures")] == ["gone-7"], "those of shop were too old"
    assert len(place.files("generations")) == 2 * 2
    heads = place.run(lambda world: _heads(world, "shop"))
    assert {(one.operation, one.outcome) for one in heads} == {
        *((operation, "committed") for operation in ("up", "rollback", "stop", "start", "down")),
        ("up", "undone"),
    }, "of each kind the last is still needed"


async def _heads(world, stack):
    return world.store.run_heads(stack)
