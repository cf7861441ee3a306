"""What SQLite refuses leaves the registry as HomeError only; a row that makes no sense is passed over, and told of."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.registry.store import SqliteStore
from moorage.errors import HomeError
from moorage.model.generation import GenerationRecord
from moorage.model.lease import AddressLease, LeaseKey, Request, SubnetLease
from moorage.model.state import RunOutcome, RunRecord, StackRecord

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
        ("UPDATE stacks SET record = '{\"name\": 1}'", lambda store: store.stack("shop")),
        ("UPDATE stacks SET record = 'null'", lambda store: store.stack("shop")),
    ],
)
def test_it_says_which_file_it_is(tmp_path: Path, statement: str, act: Callable[[SqliteStore], Any]) -> None:
    store = spoilt(tmp_path / "hub.db", statement)
    with pytest.raises(HomeError, match=r"hub\.db"):
        act(store)
    store.close()


# --- one bad row stops nothing else --------------------------------------------------------------------------

RUN = RunRecord(id="r1", stack="shop", operation="up", pid=1, host="h", started_at=NOW)
GENERATION = GenerationRecord(stack="shop", number=1, digest="d", created_at=NOW, run="r1", outcome="current")
HOW: Any = {"run": None, "taken": frozenset(), "bindable": lambda *_: True, "now": NOW}


def leased(stack: str, port: int) -> Request:
    return Request(key=LeaseKey(stack=stack, service="web", target=80), wanted=port)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Two stacks, each with a record, a generation, a lease, an unfinished run and a timing."""
    path = tmp_path / "hub.db"
    with closing(SqliteStore(path)) as store:
        for name, port in (("shop", 8000), ("blog", 9000)):
            store.save_stack(RECORD.model_copy(update={"name": name}))
            store.save_generation(GENERATION.model_copy(update={"stack": name}))
            store.lease([leased(name, port)], **HOW)
            subnet = SubnetLease(stack=name, network=f"{name}_default", subnet=f"10.0.{port >> 8}.0/26", since=NOW)
            store.settle_subnets(name, lambda _, subnet=subnet: [subnet])
            kept = {"network": subnet.network, "subnet": subnet.subnet, "address": "10.0.0.62", "since": NOW}
            store.save_addresses(name, [AddressLease(stack=name, service="web", **kept)])
            store.note_built(f"sha256:{name}", name, NOW)
            store.note_peaks(name, {"web": 5}, NOW, valid=timedelta(days=1))
            store.open_run(RUN.model_copy(update={"id": f"of-{name}", "stack": name}))
            store.add_timing(name, "web", 1, "ready", 1.5, NOW)
    return path


def changed(path: Path, *statements: str) -> SqliteStore:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return SqliteStore(path)


def everything(store: SqliteStore) -> dict[str, list[Any]]:
    """What lists say, by the name of its stack."""
    return {
        "stacks": [one.name for one in store.stacks()],
        "generations": [one.stack for name in ("blog", "shop") for one in store.generations(name)],
        "leases": [one.key.stack for one in store.leases()],
        "subnets": [one.stack for one in store.subnets()],
        "addresses": [one.stack for one in store.addresses()],
        "built": [one.stack for one in store.built_images()],
        "peaks": [name for name in ("blog", "shop") for _ in store.peaks(name)],
        "runs": [one.stack for one in store.unfinished_runs()],
        "all runs": [one.stack for one in store.runs(None)],
        "heads": [one.stack for name in ("blog", "shop") for one in store.run_heads(name)],
        "timings": [name for name in ("blog", "shop") for _ in store.timings(name, "web", "ready")],
    }


BAD: list[tuple[str, tuple[str, ...]]] = [
    ("UPDATE stacks SET record = '{' WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = x'ff00' WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = CAST(x'7bff7d' AS TEXT) WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = 5 WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = json_set(record, '$.from_the_future', 1) WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = json_set(record, '$.name', 'blog') WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = json_set(record, '$.path', char(47, 0)) WHERE name = 'shop'", ("stacks",)),
    ("UPDATE stacks SET record = json_set(record, '$.created_at', '2026-01-01') WHERE name = 'shop'", ("stacks",)),
    (
        "UPDATE stacks SET name = '../../etc', record = json_set(record, '$.name', '../../etc') WHERE name = 'shop'",
        ("stacks",),
    ),
    ("UPDATE stacks SET record = hex(zeroblob(3000000)) WHERE name = 'shop'", ("stacks",)),
    ("UPDATE generations SET record = 'null' WHERE stack = 'shop'", ("generations",)),
    ("UPDATE generations SET record = json_set(record, '$.number', 7) WHERE stack = 'shop'", ("generations",)),
    ("UPDATE leases SET port = 99999 WHERE stack = 'shop'", ("leases",)),
    ("UPDATE leases SET port = -1 WHERE stack = 'shop'", ("leases",)),
    ("UPDATE leases SET port = 'http' WHERE stack = 'shop'", ("leases",)),
    ("UPDATE leases SET count = 1000000000000 WHERE stack = 'shop'", ("leases",)),
    ("UPDATE leases SET since = 'yesterday' WHERE stack = 'shop'", ("leases",)),
    ("UPDATE leases SET skipped = '[' WHERE stack = 'shop'", ("leases",)),
    ("UPDATE leases SET previous = '{}' WHERE stack = 'shop'", ("leases",)),
    ("UPDATE subnets SET subnet = '10.0.0.0/99' WHERE stack = 'shop'", ("subnets",)),
    ("UPDATE subnets SET subnet = '0.0.0.0/0' WHERE stack = 'shop'", ("subnets",)),
    ("UPDATE subnets SET subnet = x'ff' WHERE stack = 'shop'", ("subnets",)),
    ("UPDATE subnets SET since = 0 WHERE stack = 'shop'", ("subnets",)),
    ("UPDATE addresses SET address = '10.0.0.999' WHERE stack = 'shop'", ("addresses",)),
    ("UPDATE addresses SET since = 'then' WHERE stack = 'shop'", ("addresses",)),
    ("UPDATE built_images SET at = x'ff' WHERE stack = 'shop'", ("built",)),
    ("UPDATE memory_peaks SET bytes = 'much' WHERE stack = 'shop'", ("peaks",)),
    ("UPDATE memory_peaks SET bytes = -1 WHERE stack = 'shop'", ("peaks",)),
    ("UPDATE leases SET protocol = 'carrier pigeon' WHERE stack = 'shop'", ("leases",)),
    ("UPDATE runs SET record = '[]' WHERE stack = 'shop'", ("runs", "all runs")),
    (
        "UPDATE runs SET id = '../x', record = json_set(record, '$.id', '../x') WHERE stack = 'shop'",
        ("runs", "all runs"),
    ),
    ("UPDATE runs SET services = '{' WHERE stack = 'shop'", ("heads",)),
    ("UPDATE runs SET started_at = '12:00' WHERE stack = 'shop'", ("heads",)),
    ("UPDATE timings SET seconds = 'long' WHERE stack = 'shop'", ("timings",)),
]


@pytest.mark.parametrize(("statement", "lost"), BAD, ids=[statement[:70] for statement, _ in BAD])
def test_one_bad_row_stops_nothing_else(full: Path, statement: str, lost: tuple[str, ...]) -> None:
    """The others are read; it is told of, once, and its lease's port is given to nobody."""
    store, told = changed(full, statement), []
    store.on_unreadable = told.append
    for _ in range(2):
        found = everything(store)
        assert {kind: sorted(names) for kind, names in found.items()} == {
            kind: ["blog"] if kind in lost else ["blog", "shop"] for kind in found
        }
    assert len(told) == 1, told
    assert all((one.where, one.what, one.hint) != ("", "", "") for one in told)
    assert "\n" not in told[0].said
    assert bool(store.unreadable()) == bool(
        {"stacks", "generations", "leases", "subnets", "addresses", "runs"} & {*lost}
    )
    assert "blog" in store.names()
    assert store.lease([leased("new", 8000)], **HOW)[0].port == (
        8000 if "port " in statement or "pigeon" in statement else 8001
    )
    assert store.old_timings("shop", timedelta(days=1)) == 0
    store.close()


def test_what_is_asked_for_by_its_name_is_an_error(full: Path) -> None:
    """Whether a stack is one for production, or a run asked for approval, nobody can tell: that is not `none`."""
    store = changed(full, "UPDATE stacks SET record = '{'", "UPDATE runs SET record = '{'")
    for act in (lambda: store.stack("shop"), lambda: store.run("of-shop")):
        with pytest.raises(HomeError, match="'shop'") as caught:
            act()
        assert caught.value.hint
    assert store.names() == {"shop", "blog"}
    store.close()


def test_an_unfinished_run_that_cannot_be_read_can_be_closed(full: Path) -> None:
    store = changed(full, "UPDATE runs SET record = '{' WHERE stack = 'shop'")
    assert [one.run for one in store.unreadable("shop")] == ["of-shop"]
    store.close_run("of-shop", RunOutcome.RECOVERY_INCOMPLETE, NOW)
    assert store.unreadable("shop") == ()
    (head,) = store.run_heads("shop")
    assert (head.outcome, head.finished_at) == (RunOutcome.RECOVERY_INCOMPLETE, NOW)
    store.close()


def test_a_bad_lease_is_replaced_by_the_next_and_goes_with_its_run(full: Path) -> None:
    store = changed(full, "UPDATE leases SET since = '', run = 'r7'")
    assert store.lease([leased("shop", 8000)], **HOW)[0].port == 8000
    assert [one.key.stack for one in store.leases()] == ["shop"]
    store.release_run("r7")
    assert store.unreadable() == ()
    store.close()


def test_a_bad_lease_goes_with_all_of_its_stack(full: Path) -> None:
    """Nobody could give its port back else: `down --release-ports` goes by the stack."""
    store = changed(full, "UPDATE leases SET since = ''")
    store.release_all("shop")
    assert [one.stack for one in store.unreadable()] == ["blog"]
    assert store.lease([leased("new", 8000)], **HOW)[0].port == 8000
    store.close()


def test_many_bad_rows_do_not_flood(full: Path) -> None:
    with closing(sqlite3.connect(full)) as connection, connection:
        connection.executemany("INSERT INTO stacks VALUES (?, '{')", [(f"s{n}",) for n in range(1000)])
    store, told = SqliteStore(full), []
    store.on_unreadable = told.append
    assert [one.name for one in store.stacks()] == ["blog", "shop"]
    assert len(told) == 20
    assert len(store.unreadable()) == 1000
    store.close()
