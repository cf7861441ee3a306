"""A registry of each earlier version becomes one of this: whole, or not at all, whoever looks on or dies meanwhile.

`registries/N.sql` is what version N wrote. To add a version, dump one of the version before.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.adapters.registry.file import SqliteFile
from moorage.adapters.registry.store import MIGRATIONS, SqliteStore
from moorage.model.lease import LeaseKey
from moorage.model.state import RunRecord, Span

AT = datetime(2026, 11, 1, 12, 0, 0, 250, tzinfo=UTC)
REGISTRIES = Path(__file__).parent / "registries"
LATEST = len(MIGRATIONS)
SUBNETS_SINCE, MEASURED_SINCE = 5, 7
STEPS = (
    ("CREATE TABLE things (name TEXT)",),
    ("ALTER TABLE things ADD COLUMN colour TEXT", "UPDATE things SET colour = 'red'"),
    ("CREATE TABLE colours AS SELECT DISTINCT colour FROM things", "ALTER TABLE things DROP COLUMN colour"),
)


def version_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def beside(path):
    return sorted(one.name for one in path.parent.iterdir() if "corrupt" in one.name)


def test_there_is_one_of_every_version():
    assert sorted(int(file.stem) for file in REGISTRIES.iterdir()) == list(range(1, LATEST + 1))


@pytest.mark.parametrize("version", range(1, LATEST + 1))
def test_all_that_an_earlier_version_wrote_is_read(tmp_path, version):
    path = tmp_path / "hub.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((REGISTRIES / f"{version}.sql").read_text())
    assert version_of(path) == version
    store = SqliteStore(path)
    assert [(one.name, one.path, one.generation) for one in store.stacks()] == [("shop", "/home/susan/shop", 2)]
    assert [(one.number, one.outcome) for one in store.generations("shop")] == [(2, "current"), (1, "superseded")]
    assert [(one.key.service, one.port, one.run) for one in store.leases()] == [
        ("web", 8000, None),
        ("api", 8001, "r3"),
    ]
    assert [(one.id, one.outcome) for one in store.runs("shop")] == [("r3", None), ("r2", "committed")]
    (unfinished,) = store.unfinished_runs()
    assert (unfinished.operation, unfinished.before["volumes"]) == ("up", ["shop_data"])
    assert store.timings("shop", "web", "ready") == (1.5,)
    assert [one.subnet for one in store.subnets()] == (["10.201.0.0/26"] if version >= SUBNETS_SINCE else [])
    known = version >= MEASURED_SINCE
    assert [(one.stack, one.at) for one in store.built_images()] == ([("shop", AT)] if known else [])
    assert store.peaks("shop") == ({"web": 50_000_000} if known else {})
    assert [one.address for one in store.addresses()] == (["10.201.0.62"] if known else [])
    store.release([LeaseKey(stack="shop", service="web", target=80)])
    store.close()
    assert (version_of(path), beside(path)) == (LATEST, [])


def test_what_says_whether_a_run_is_needed_is_taken_from_its_record(tmp_path):
    """Version 2 has it in columns; of runs that are older, too."""
    path = tmp_path / "hub.db"
    step = Span(step="ready web", kind="ready", service="web", began_s=0, ended_s=1)
    known = {"stack": "shop", "pid": 1, "host": "h", "started_at": AT}
    records = (
        RunRecord(id="d", operation="down", **known),
        RunRecord(id="c", operation="up", outcome="undone", finished_at=AT, spans=(step,), **known),
        RunRecord(id="b", operation="stop", outcome="committed", arguments={"services": ["web", "é"]}, **known),
        RunRecord(id="a", operation="up", arguments={"request": {"approve": True}}, **known),
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript((REGISTRIES / "1.sql").read_text())
        connection.execute("DELETE FROM runs")
        for one in reversed(records):
            finished_at = one.finished_at.isoformat() if one.finished_at else None
            values = (one.id, one.stack, finished_at, one.model_dump_json())
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", values)
    store = SqliteStore(path)
    assert store.run_heads("shop") == tuple(one.head for one in records)
    assert [head.has_timeline for head in store.run_heads("shop")] == [False, True, False, False]
    store.close()


def filled(path, steps):
    """A file as a program with these migrations leaves it, with two things in it."""
    file = SqliteFile(path, steps, 5.0)
    file.write(lambda c: c.executemany("INSERT INTO things (name) VALUES (?)", [("a",), ("b",)]).close())
    file.close()


def names(path, steps):
    file = SqliteFile(path, steps, 5.0)
    try:
        return [name for (name,) in file.read(lambda c: c.execute("SELECT name FROM things").fetchall())]
    finally:
        file.close()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("latest", [2, 3])
def test_several_steps_at_once(tmp_path, version, latest):
    path = tmp_path / "hub.db"
    filled(path, STEPS[:version])
    assert names(path, STEPS[:latest]) == ["a", "b"]
    assert version_of(path) == latest


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "hub.db"
    filled(path, STEPS[:1])
    broken = (*STEPS[:2], ("CREATE UNIQUE INDEX one_of_a_colour ON things (colour)",))
    with pytest.raises(sqlite3.IntegrityError):
        names(path, broken)
    assert (version_of(path), beside(path)) == (1, [])
    assert names(path, STEPS[:1]) == ["a", "b"]


class Dying(sqlite3.Connection):
    """A connection of a process that is killed before the `last`-th statement that changes something."""

    last = 0
    done = 0

    def execute(self, statement, *more):
        if statement.startswith(("ALTER", "CREATE", "UPDATE", "PRAGMA user_version =", "COMMIT")):
            Dying.done += 1
            if Dying.done == Dying.last:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(statement, *more)


def die(path, last):
    connect = sqlite3.connect
    Dying.last = last
    sqlite3.connect = lambda *args, **options: connect(*args, **options, factory=Dying)
    names(path, STEPS)


def look(path):
    assert names(path, STEPS) == ["a", "b"]


def started(target, *args):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=target, args=args)
    process.start()
    return process


def test_a_process_that_is_killed_on_the_way_leaves_it_as_it_was(tmp_path):
    """Before each statement, up to the end of the transaction."""
    original = tmp_path / "original.db"
    filled(original, STEPS[:1])
    versions = []
    for number in range(1, 20):
        path = tmp_path / str(number) / "hub.db"
        path.parent.mkdir()
        shutil.copy(original, path)
        process = started(die, path, number)
        process.join(60)
        versions.append(version_of(path))
        look(path)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    # The statements of two steps, the new version, the commit; the end of the look; nothing.
    assert versions == [*[1] * 6, 3, 3]


def test_many_processes_at_once(tmp_path):
    path = tmp_path / "hub.db"
    filled(path, STEPS[:1])
    processes = [started(look, path) for _ in range(6)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert (version_of(path), beside(path)) == (3, [])
