"""`moorage hub restore`, killed at any moment: the history is there, and in one piece; the next try ends it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from moorage.errors import HubError
from moorage.hub import backup, residence
from moorage.hub.hub_home import HubHome
from tests.properties.pairs import disk_seen

TABLES = "CREATE TABLE flow_run (n); CREATE TABLE deployment (n); CREATE TABLE alembic_version (n);"


def filled(path: Path, *rows: int) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = sqlite3.connect(path, isolation_level=None)
    made.executescript("PRAGMA journal_mode = WAL;" + TABLES)
    made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.executemany("INSERT INTO flow_run VALUES (?)", [(row,) for row in rows])
    return made


def rows_in(path: Path) -> list[int]:
    """Of a copy, as looking would tidy up. Its companions count."""
    place = path.with_name("looked at")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if file.name in (path.name, f"{path.name}-wal"):
            shutil.copy(file, place)
    with closing(sqlite3.connect(place / path.name)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = [row for (row,) in database.execute("SELECT n FROM flow_run ORDER BY n")]
    shutil.rmtree(place)
    return found


@pytest.fixture
def folder(tmp_path) -> HubHome:
    """Of a server that was killed: the last rows are not in the database itself yet."""
    folder = HubHome(tmp_path / "hub")
    with closing(filled(tmp_path / "living" / "prefect.db", 1, 2)):
        shutil.copytree(tmp_path / "living", folder.prefect_home)
    assert (folder.prefect_home / "prefect.db-wal").stat().st_size
    return folder


def dies(folder: HubHome, source: Path, at: int) -> bool:
    """In a process of its own, which is killed before its `at`-th change to the disk."""
    seen = count(1)

    def strike(_event: str) -> None:
        if next(seen) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        code = 1
        try:
            with disk_seen(folder.prefect_home, strike):
                backup.restore(folder, source)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_killed_at_every_moment(folder, tmp_path):
    source, untouched = tmp_path / "saved.db", tmp_path / "untouched"
    filled(source, 9).close()
    shutil.copytree(folder.prefect_home, untouched)
    for at in count(1):
        shutil.rmtree(folder.prefect_home)
        shutil.copytree(untouched, folder.prefect_home)
        if not dies(folder, source, at):
            break
        assert rows_in(folder.prefect_home / "prefect.db") in ([1, 2], [9]), f"killed at {at}"
        backup.restore(folder, source)
        asides = [file for file in folder.prefect_home.glob("prefect.db.before-*") if "-wal" not in file.name]
        kept = [rows_in(file) for file in asides if not file.name.endswith("-shm")]
        assert [1, 2] in kept, f"killed at {at}"
        assert rows_in(folder.prefect_home / "prefect.db") == [9], f"killed at {at}"
    assert at > 4


def test_not_under_a_server_that_nobody_has_on_record(folder, tmp_path):
    filled(tmp_path / "saved.db", 9).close()
    lock = residence.move_in(folder.server_lock)
    assert lock
    with pytest.raises(HubError, match="is running"):
        backup.restore(folder, tmp_path / "saved.db")
    lock.release()
    backup.restore(folder, tmp_path / "saved.db")
    assert rows_in(folder.prefect_home / "prefect.db") == [9]
