"""What SQLite refuses, and records that make no sense, leave the registry as HomeError only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.registry.store import SqliteStore
from moorage.errors import HomeError
from moorage.model.state import StackRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = StackRecord(name="shop", path="/shop", created_at=NOW)
REFUSED = "CREATE TRIGGER no_{0} BEFORE INSERT ON {0} BEGIN SELECT RAISE(ABORT, 'refused'); END"


def spoilt(path: Path, statement: str) -> SqliteStore:
    """A registry, after a statement of somebody else."""
    store = SqliteStore(path)
    store.save_stack(RECORD)
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    return SqliteStore(path)


@pytest.mark.parametrize(
    ("statement", "act"),
    [
        (REFUSED.format("stacks"), lambda store: store.save_stack(RECORD)),
        (REFUSED.format("timings"), lambda store: store.add_timing("shop", "web", 1, "ready", 1.0, NOW)),
        ("UPDATE stacks SET record = '{'", lambda store: store.stack("shop")),
        ("UPDATE stacks SET record = '{\"name\": 1}'", lambda store: store.stacks()),
        ("UPDATE stacks SET record = 'null'", lambda store: store.stack("shop")),
    ],
)
def test_it_says_which_file_it_is(tmp_path: Path, statement: str, act: Callable[[SqliteStore], Any]) -> None:
    store = spoilt(tmp_path / "hub.db", statement)
    with pytest.raises(HomeError, match=r"hub\.db"):
        act(store)
    store.close()
