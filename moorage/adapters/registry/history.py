"""Exports the history of one stack as a SQLite file, to be kept with the logs of a test run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from moorage.adapters.files import home_error, made_beside

_TABLES = {
    "stacks": "name",
    **dict.fromkeys(("generations", "leases", "runs", "timings", "missing_directories", "subnets"), "stack"),
    **dict.fromkeys(("built_images", "memory_peaks", "addresses"), "stack"),
}


def copy_history(database: Path, target: Path, stack: str) -> None:
    """Copy everything about `stack`, and nothing about other stacks, from `database` (the registry) to `target`.

    Does nothing if there is no registry. Raises HomeError.
    """
    if not database.is_file():
        return
    try:
        with (
            made_beside(target) as made,
            closing(sqlite3.connect(database)) as source,
            closing(sqlite3.connect(made)) as copy,
        ):
            source.backup(copy)
            for table, column in _TABLES.items():
                copy.execute(f"DELETE FROM {table} WHERE {column} != ?", (stack,))  # noqa: S608 - our own names
            copy.commit()
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.execute("VACUUM")
    except (OSError, sqlite3.Error) as error:
        raise home_error(target, str(error)) from error
