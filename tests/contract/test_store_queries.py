"""What the registry asks of SQLite uses an index: its cost does not grow with what is on record of other stacks."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from moorage.adapters.registry import file
from moorage.adapters.registry.store import MIGRATIONS, SqliteStore
from moorage.model.generation import GenerationRecord
from moorage.model.lease import AddressLease, LeaseKey, Request, SubnetLease
from moorage.model.state import RunOutcome, RunRecord, StackRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunRecord(id="r1", stack="shop", operation="up", pid=1, host="h", started_at=NOW)
STACK = StackRecord(name="shop", path="/home/me/shop", created_at=NOW)
GENERATION = GenerationRecord(stack="shop", number=1, digest="d", created_at=NOW, run="r1", outcome="current")
KEY = LeaseKey(stack="shop", service="web", target=80)
LEASES = ([Request(key=KEY, wanted=8000)],)
SUBNET = SubnetLease(stack="shop", network="shop_default", subnet="10.0.0.0/26", since=NOW)
ADDRESS = AddressLease(
    stack="shop", service="web", network="shop_default", subnet="10.0.0.0/26", address="10.0.0.62", since=NOW
)
HOW = {"taken": frozenset(), "bindable": lambda *_: True, "now": NOW}

CALLS = {
    "leases of a stack": lambda store: store.leases("shop"),
    "release": lambda store: store.release([KEY]),
    "release_all": lambda store: store.release_all("shop"),
    "release_run": lambda store: store.release_run("r1"),
    "commit_run": lambda store: store.commit_run("r1"),
    "commit": lambda store: store.commit(RUN, STACK, [GENERATION], [KEY]),
    "stack": lambda store: store.stack("shop"),
    "save_stack": lambda store: store.save_stack(STACK),
    "forget_stack": lambda store: store.forget_stack("shop"),
    "generations": lambda store: store.generations("shop"),
    "numbers": lambda store: store.numbers("shop"),
    "save_generation": lambda store: store.save_generation(GENERATION),
    "forget_generation": lambda store: store.forget_generation("shop", 1),
    "open_run": lambda store: store.open_run(RUN),
    "update_run": lambda store: store.update_run(RUN),
    "close_run": lambda store: store.close_run("r1", RunOutcome.UNDONE, NOW),
    "unfinished_runs": lambda store: store.unfinished_runs(),
    "unfinished_runs of a stack": lambda store: store.unfinished_runs("shop"),
    "run": lambda store: store.run("r1"),
    "runs of a stack": lambda store: store.runs("shop"),
    "run_heads": lambda store: store.run_heads("shop"),
    "run_heads of stacks that are gone": lambda store: store.run_heads(None),
    "forget_runs": lambda store: store.forget_runs(["r1"]),
    "add_timing": lambda store: store.add_timing("shop", "web", 1, "ready", 1.5, NOW),
    "timings": lambda store: store.timings("shop", "web", "ready"),
    "old_timings": lambda store: store.old_timings("shop", timedelta(days=1)),
    "addresses of a stack": lambda store: store.addresses("shop"),
    "save_addresses": lambda store: store.save_addresses("shop", [ADDRESS]),
    "note_built": lambda store: store.note_built("sha256:1", "shop", NOW),
    "forget_built": lambda store: store.forget_built(["sha256:1"]),
    "note_peaks": lambda store: store.note_peaks("shop", {"web": 1}, NOW, valid=timedelta(days=1)),
    "peaks": lambda store: store.peaks("shop"),
    "note_missing": lambda store: store.note_missing("shop", "/shop", NOW),
    "missing_since": lambda store: store.missing_since("shop", "/shop"),
    "forget_missing": lambda store: store.forget_missing("shop"),
    "unreadable of a stack": lambda store: store.unreadable("shop"),
    "subnets of a stack": lambda store: store.subnets("shop"),
    "forget_timings": lambda store: store.forget_timings("shop", timedelta(days=1)),
}
WHOLE_TABLES = {
    # What a lease may not take is what any stack holds.
    "lease": lambda store: store.lease(*LEASES, run=None, **HOW),
    "preview": lambda store: store.preview(*LEASES, **HOW),
    "leases": lambda store: store.leases(),
    "restore": lambda store: store.restore([]),
    "lease_again": lambda store: store.lease_again([]),
    "subnets": lambda store: store.subnets(),
    "addresses": lambda store: store.addresses(),
    "settle_subnets": lambda store: store.settle_subnets("shop", lambda _: [SUBNET]),
    "stacks": lambda store: store.stacks(),
    "names": lambda store: store.names(),
    "built_images": lambda store: store.built_images(),
    # For `sweep`: all there is, once.
    "unreadable": lambda store: store.unreadable(),
    # The last ones in the order of the table: as many rows as are asked for.
    "runs": lambda store: store.runs(None),
    # Has one row at most.
    "set_aside": lambda store: store.set_aside,
}
ALLOWED = {
    # Of as many as are kept, the oldest is looked for.
    "note_built": {"SCAN built_images USING COVERING INDEX built_by_age"},
    # An index that holds nothing else: as many entries as there are unfinished runs.
    "unfinished_runs": {"SCAN runs USING INDEX unfinished"},
    # Names alone, once for all stacks.
    "run_heads of stacks that are gone": {"SCAN runs USING COVERING INDEX runs_of_stack", "SCAN stacks"},
}


class Recording(sqlite3.Connection):
    """Remembers what it was asked."""

    asked: list[str]

    def execute(self, statement, *values):
        Recording.asked.append(statement)
        return super().execute(statement, *values)

    def executemany(self, statement, *values):
        Recording.asked.append(statement)
        return super().executemany(statement, *values)


@pytest.fixture
def store(tmp_path, monkeypatch):
    made = SqliteStore(tmp_path / "hub.db")
    made.open_run(RUN)
    made.save_generation(GENERATION)
    made.add_timing("shop", "web", 1, "ready", 1.5, NOW)
    made.close()
    monkeypatch.setattr(file.sqlite3, "connect", partial(sqlite3.connect, factory=Recording))
    Recording.asked = []
    made.stack("opens it")
    Recording.asked = []
    yield made
    made.close()


def plans(path, statements):
    """(statement, how SQLite goes about it) of all that look something up."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            if re.match("SELECT|UPDATE|DELETE|INSERT", statement):
                values = [None] * statement.count("?")
                found = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
                yield statement, [detail for *_, detail in found]


def whole_tables(plan):
    """Steps that go through a table, or through an index from end to end."""
    return [step for step in plan if step.startswith("SCAN") and "CONSTANT" not in step]


@pytest.mark.parametrize("call", CALLS)
def test_looked_up_by_an_index(store, call):
    CALLS[call](store)
    seen = dict(plans(store.path, Recording.asked))
    assert seen, "nothing was asked"
    for statement, plan in seen.items():
        assert set(whole_tables(plan)) <= ALLOWED.get(call, set()), (statement, plan)


@pytest.mark.parametrize("call", WHOLE_TABLES)
def test_the_others_are_known(store, call):
    """A call belongs to one of the two tables above."""
    WHOLE_TABLES[call](store)
    assert any(whole_tables(plan) for _, plan in plans(store.path, Recording.asked)), "it uses an index: move it up"


def test_no_call_is_missing():
    words = {name.split()[0] for name in (*CALLS, *WHOLE_TABLES)}
    methods = {name for name in vars(SqliteStore) if not name.startswith("_")}
    assert methods - words == {"close", "path", "on_loss", "rebuilt"}, (
        "`rebuilt` empties the table that `set_aside` reads"
    )


def test_heads_are_read_without_the_records(store):
    """A record may be large, and what stands behind it in a row is found only by going through it."""
    store.run_heads("shop")
    [(_, plan)] = plans(store.path, Recording.asked)
    assert plan[0] == "SEARCH runs USING COVERING INDEX run_heads (stack=?)"


def test_in_the_order_of_the_index(store):
    """The last 50 runs of a stack: so many rows are read, none is sorted."""
    store.runs("shop")
    assert [plan for _, plan in plans(store.path, Recording.asked)] == [
        ["SEARCH runs USING INDEX runs_of_stack (stack=?)"]
    ]


def test_every_index_is_used(store):
    """An index that no call uses makes every write dearer for nothing."""
    for call in {**CALLS, **WHOLE_TABLES}.values():
        call(store)
    text = str(list(plans(store.path, Recording.asked)))
    made = re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", str(MIGRATIONS))
    unused = [name for name in made if name not in text]
    assert not unused
