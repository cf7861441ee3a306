"""The registry's search for a port: it passes over full blocks, and is not led astray by a wrong count of them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.adapters.registry.leased import _BLOCK
from moorage.adapters.registry.store import SqliteStore
from moorage.model.lease import LeaseKey, Request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = 20 * _BLOCK
PORTS = range(FIRST, FIRST + 3 * _BLOCK)


def leased(store: SqliteStore, stack: str, count: int = 1) -> list[int]:
    """The ports of so many new services."""
    requests = [Request(key=LeaseKey(stack=stack, service=f"s{n}", target=80)) for n in range(count)]
    found = store.lease(requests, run=None, taken=frozenset(), bindable=lambda *_: True, now=NOW)
    return [one.port for one in found]


def counts(path: Path) -> tuple[dict[int, int], dict[int, int]]:
    """Block → how many of its ports are leased, as the file says and as it is."""
    with closing(sqlite3.connect(path)) as connection:
        told = dict(connection.execute("SELECT block, ports FROM leased_blocks WHERE ports > 0"))
        ports = {port for (port,) in connection.execute("SELECT port FROM leases")}
    return told, dict(Counter(port // _BLOCK for port in ports))


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "hub.db", any_port=PORTS)


def test_the_lowest_port_is_found_behind_full_blocks_and_within_them(store: SqliteStore) -> None:
    assert leased(store, "many", 2 * _BLOCK) == list(PORTS)[: 2 * _BLOCK]
    assert leased(store, "next") == [PORTS[2 * _BLOCK]]
    store.release([LeaseKey(stack="many", service="s7", target=80)])
    assert leased(store, "again") == [PORTS[7]]


@pytest.mark.parametrize("wrong", [0, 1, _BLOCK, 10 * _BLOCK])
def test_a_wrong_count_leases_nothing_twice_and_hides_nothing(store: SqliteStore, wrong: int) -> None:
    first = leased(store, "many", _BLOCK + 5)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE leased_blocks SET ports = ?", (wrong,))
    rest = leased(store, "rest", len(PORTS) - len(first))
    assert sorted(first + rest) == list(PORTS)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, _BLOCK)), max_size=8))
def test_the_counts_are_those_of_the_leases(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, int]]
) -> None:
    """Leased, leased again, released: of several stacks, over the borders of blocks."""
    store = SqliteStore(tmp_path_factory.mktemp("blocks") / "hub.db", any_port=PORTS)
    for stack, count in asked:
        leased(store, stack, count)
        if count % 3 == 0:
            store.release_all(stack)
    store.leases()
    told, are = counts(store.path)
    store.close()
    assert told == are
