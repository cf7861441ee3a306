"""Exports the history of one stack as a SQLite file, to be kept with the logs of a test run."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from moorage.adapters.files import PRIVATE_FILE, home_error

_TABLES = {"stacks": "name", "generations": "stack", "leases": "stack", "runs": "stack", "timings": "stack"}


def copy_history(database: Path, target: Path, stack: str) -> None:
    """Copy everything about `stack`, and nothing about other stacks, from `database` (the registry) to `target`.

    Does nothing if there is no registry. Raises HomeError.
    """
    if not database.is_file():
        return
    with suppress(FileNotFoundError):
        target.unlink()
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            for table, column in _TABLES.items():
                copy.execute(f"DELETE FROM {table} WHERE {column} != ?", (stack,))  # noqa: S608 - our own names
            copy.commit()
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.execute("VACUUM")
    except (OSError, sqlite3.Error) as error:
        raise home_error(target, str(error)) from error
