"""No operation and no query calls an adapter on the event loop: a cancel, and all else that waits, would wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from moorage.errors import NotReadyError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.request import SweepRequest
from moorage.testing import LoopGuard
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.ephemeral.stack import EphemeralStack
from moorage.work.operations import orphans
from moorage.work.operations.sweep import sweep
from moorage.work.queries.health import health
from moorage.work.queries.plan import PlannedUp, idle_as_planned, plan_up
from moorage.work.queries.status import status
from moorage.work.queries.usage import Meter
from moorage.work.runs.context import Context
from moorage.work.threads import in_thread
from tests.properties.foreign import CASES, brought_up, changed
from tests.properties.memory import STACK
from tests.properties.transactions import Transactions


@pytest.fixture
def stack():
    made = Transactions()
    made.begin()
    yield made
    made.teardown()


async def _idle(stack: Transactions, world: World) -> Any:
    return await idle_as_planned(world, await _plan(stack, world))


async def _plan(stack: Transactions, world: World) -> PlannedUp:
    request = UpRequest(source=Source(directory=stack.folder))
    return await plan_up(world, await in_thread(lambda: resolve(world, request)))


async def _remove_orphans(world: World) -> list[str]:
    return await orphans.remove_orphans(world)


QUERIES: dict[str, Callable[[Transactions, World], Any]] = {
    "status": lambda _stack, world: status(world, STACK, ask=True),
    "status, not asking": lambda _stack, world: status(world, STACK, ask=False),
    "health": lambda _stack, world: health(world, STACK),
    "plan": _plan,
    "idle": _idle,
    "usage": lambda _stack, world: Meter(world, [STACK]).look(),
    "orphans": lambda _stack, world: _remove_orphans(world),
}


def on_the_loop(act: Callable[[World], Any], world: World) -> list[str]:
    """The calls that it makes there."""
    guard = LoopGuard()
    asyncio.run(act(guard.guarded(world)))
    return guard.blocked


def test_the_guard_sees(stack: Transactions) -> None:
    guard = LoopGuard()
    world = guard.guarded(stack.world())

    async def blocks() -> None:
        world.lock(STACK).held()

    assert world.lock(STACK).held() is None
    assert guard.blocked == [], "where no loop runs it may be asked"
    asyncio.run(blocks())
    assert guard.blocked == [f"lock {STACK} held"]


@pytest.mark.parametrize("name", CASES)
def test_no_operation_blocks_the_loop(stack: Transactions, name: str) -> None:
    CASES[name].prepare(stack)
    assert on_the_loop(CASES[name].act(stack), stack.world()) == []


@pytest.mark.parametrize("name", CASES)
def test_no_recovery_blocks_the_loop(stack: Transactions, name: str) -> None:
    CASES[name].prepare(stack)
    stack.dies(CASES[name].act(stack), 5)
    assert on_the_loop(lambda world: sweep(Context(world), SweepRequest()), stack.world()) == []


def test_no_undo_blocks_the_loop(stack: Transactions) -> None:
    changed(stack)
    stack.write({**stack.services, "late": {"image": "fails:1"}})

    async def fails(world: World) -> None:
        with pytest.raises(NotReadyError):
            await stack.up(world)

    assert on_the_loop(fails, stack.world()) == []


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_blocks_the_loop(stack: Transactions, name: str) -> None:
    brought_up(stack)
    assert on_the_loop(lambda world: QUERIES[name](stack, world), stack.world()) == []
    stack.machine.end(stack.machine.existing(f"{STACK}-web-1"), 1)
    assert on_the_loop(lambda world: QUERIES[name](stack, world), stack.world()) == []


def test_the_end_of_an_ephemeral_stack_does_not_block_the_loop(stack: Transactions) -> None:
    brought_up(stack)
    guard = LoopGuard()
    world = guard.guarded(stack.world())
    with EphemeralStack(world, STACK) as owned:
        asyncio.run(owned.remove())
    assert guard.blocked == []
