"""Backup and restore of the hub's database, with SQLite's own online backup and a check."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from moorage.adapters.files import home_errors, made_beside, private_folder
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import DefinitionError, HubError
from moorage.hub import process
from moorage.hub.hub_home import HubHome

_DATABASE = "prefect.db"
_BESIDE = ("-wal", "-shm")


def backup(folder: HubHome, target: Path | None) -> Path:
    """Copy the database, even while the server is running; returns the file. `target` None: in the hub's folder.

    The copy is checked before it gets its name. Raises DefinitionError: the file exists; HubError: nothing to copy, or
    the copy is damaged; HomeError.
    """
    source = folder.prefect_home / _DATABASE
    if not source.is_file():
        raise HubError(f"{source}: there is no database yet", hint="`moorage hub start` creates it.")
    chosen = target or folder.path / "backups" / f"prefect-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.db"
    if chosen.exists():
        raise DefinitionError(f"{chosen}: the file already exists", file=str(chosen), hint="Choose another name.")
    with home_errors(chosen):
        if target is None:
            private_folder(chosen.parent)
        with made_beside(chosen) as made:
            _copy(source, made)
            check(made)
    return chosen


def restore(folder: HubHome, source: Path) -> Path | None:
    """Replace the database by a backup; returns where the current one was set aside. None: there was none.

    The hub must be stopped, and cannot be started meanwhile. Killed at any moment, it leaves the database as it was or
    replaced, and the next try ends it. Raises HubError: it is running; DefinitionError: the backup is not usable;
    HomeError.
    """
    lock = KernelLock(folder.server_lock)
    with home_errors(folder.server_lock):
        private_folder(folder.path)
        ours = lock.take()
    try:
        _refuse_running(folder, ours=ours)
        _refuse_unusable(source)
        present = folder.prefect_home / _DATABASE
        with home_errors(present):
            private_folder(folder.prefect_home)
            with made_beside(present) as made:
                _copy(source, made)
                aside = _set_aside(present)
        return aside
    finally:
        lock.release()


def _refuse_running(folder: HubHome, *, ours: bool) -> None:
    for name, record in (("server", folder.server()), ("worker", folder.worker())):
        if record and process.alive(record.process):
            message = f"the hub's {name} is running (pid {record.process.pid})"
            raise HubError(message, hint="Stop it first: `moorage hub stop`.")
    if not ours:
        raise HubError("the hub's server is running", hint="Stop it first: `moorage hub stop`.")


def _refuse_unusable(source: Path) -> None:
    try:
        check(source)
    except (HubError, OSError) as error:
        hint = "Give a file written by `moorage hub backup`."
        raise DefinitionError(f"{source}: {error}", file=str(source), hint=hint) from None


def check(file: Path) -> None:
    """Raise HubError if a file is not an intact database of a Prefect server."""
    if not file.is_file():
        raise HubError("no such file")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            said = [row[0] for row in database.execute("PRAGMA integrity_check(5)")]
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise HubError(f"it is damaged: {error}") from None
    if said != ["ok"]:
        raise HubError(f"it is damaged: {'; '.join(said)}")
    if not {"flow_run", "deployment", "alembic_version"} <= tables:
        raise HubError("it is not a database of a Prefect server")


def _copy(source: Path, target: Path) -> None:
    """Copy with SQLite's backup call: consistent even while another process writes."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")  # a single file, without -wal and -shm


def _set_aside(present: Path) -> Path | None:
    """Copy the database that is there, with what SQLite keeps beside it, and remove the latter.

    It stays in its place until another one takes that. What is beside it must be gone by then: SQLite would take it for
    part of the other one.
    """
    with suppress(sqlite3.Error), closing(sqlite3.connect(present)) as database:  # what a killed server left beside it
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [(suffix, present.with_name(_DATABASE + suffix)) for suffix in ("", *_BESIDE)]
    aside = present.with_name(f"{_DATABASE}.before-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    there = [(suffix, file) for suffix, file in files if file.exists()]
    for suffix, file in there:
        with made_beside(aside.with_name(aside.name + suffix)) as made:
            shutil.copyfile(file, made)
    for suffix, file in there:
        if suffix:
            file.unlink()
    return aside if there else None
