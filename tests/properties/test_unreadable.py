"""Rows of the registry that cannot be read: what an operation does to the rest of their stack."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from moorage.adapters.registry.store import SqliteStore
from moorage.model.request import DownRequest
from moorage.model.state import RunOutcome
from moorage.rules import labels
from moorage.work.definitions import generations
from moorage.work.operations.down import down
from moorage.work.queries.stacks import UNKNOWN, states
from moorage.work.runs.context import Context
from moorage.work.runs.volume_copies import needless_copies
from tests.properties.memory import STACK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Transactions]:
    """Two generations of different images, in a registry of SQLite."""
    made = Transactions()
    made.store = SqliteStore(tmp_path / "hub.db")  # type: ignore[assignment]
    made.begin()
    asyncio.run(made.up(made.world()))
    made.write({"web": service(image="app:2", ports=["8000:80"])})
    asyncio.run(made.up(made.world()))
    yield made
    made.store.close()
    made.teardown()


def spoil(stack: Transactions, *statements: str) -> None:
    with closing(sqlite3.connect(stack.store.path)) as connection, connection:
        for statement in statements:
            connection.execute(statement, (STACK,))


def test_a_generation_keeps_its_images(stack: Transactions) -> None:
    """Another version of Moorage may read it: what it needs to go back to it is there then."""
    spoil(stack, "UPDATE generations SET record = '{' WHERE number = 1 AND stack = ?")
    before = stack.world().engine.tags(labels.pin_prefix(STACK))
    assert generations.superfluous_tags(stack.world(), STACK) == ()
    asyncio.run(stack.up(stack.world()))
    assert set(before) <= set(stack.world().engine.tags(labels.pin_prefix(STACK)))


def test_a_lease_goes_with_the_ports_of_its_stack(stack: Transactions) -> None:
    spoil(stack, "UPDATE leases SET since = '' WHERE stack = ?")
    asyncio.run(down(Context(stack.world()), DownRequest(stack=STACK, release_ports=True)))
    assert stack.store.unreadable(STACK) == ()


def test_what_is_wrong_with_a_stack_is_its_record(stack: Transactions) -> None:
    """Not the last thing of it that cannot be read."""
    spoil(
        stack,
        "UPDATE stacks SET record = '{' WHERE name = ?",
        "UPDATE generations SET record = '{' WHERE stack = ?",
        "UPDATE leases SET since = '' WHERE stack = ?",
    )
    _, told, wrong = asyncio.run(states(stack.world()))
    assert told[STACK] == UNKNOWN
    assert wrong[STACK].startswith(f"the record of stack '{STACK}'")


def test_the_copy_of_a_restore_stays_and_keeps_no_other(stack: Transactions) -> None:
    (last, *_) = stack.store.runs(STACK)
    copies = {run: f"snapshots/{STACK}/before-{run * 12}.tar.zst" for run in "ab"}
    for run, name in copies.items():
        ended = {"id": run * 12, "operation": "restore", "outcome": RunOutcome.COMMITTED}
        stack.store.update_run(last.model_copy(update=ended))
        stack.files.write(name, "")
    spoil(stack, f"UPDATE runs SET record = '{{' WHERE id = '{'a' * 12}' AND stack = ?")
    assert needless_copies(stack.world(), STACK) == [copies["b"]]
