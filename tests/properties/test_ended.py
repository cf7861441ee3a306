"""What ends with 0 while nobody waits for more of it: whatever looks at it says the same."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from moorage.errors import NotReadyError
from moorage.model.request import HealRequest, RestartRequest, StartRequest, StopRequest
from moorage.model.state import StackState
from moorage.work.operations.heal import heal
from moorage.work.operations.restart import restart
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.queries.health import health
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from tests.properties.memory import CLOCK, STACK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

SEED = {"image": "ends:1"}


class Stack(Transactions):
    """A stack with a service that ends at once, and one that stays."""

    def written(self, seed: dict[str, Any], **web: Any) -> None:
        self.begin()
        self.write({"seed": seed, "web": service(ports=["8000:80"], **web)})

    def number_of_starts(self, name: str = "seed") -> int:
        box = self.machine.box(f"{STACK}-{name}-1")
        assert box is not None
        return box.output.count("seeded")

    def lately_ended(self, name: str, code: int = 0) -> None:
        """It ends now, outside of every run."""
        CLOCK.advance(60)
        box = self.machine.box(f"{STACK}-{name}-1")
        assert box is not None
        self.machine.end(box, code)


@pytest.fixture
def stack():
    made = Stack()
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


def seeding(**more: Any) -> dict[str, Any]:
    return {**SEED, "command": ["sh", "-c", "echo seeded; exit 0"], **more}


@pytest.mark.parametrize("policy", ["no", "on-failure", "on-failure:3"])
def test_all_agree_that_it_has_ended_well(stack, policy):
    stack.written(seeding(restart=policy))
    world = stack.world()
    up = asyncio.run(stack.up(world))
    assert (up.status.state, up.status.services["seed"].state) == (StackState.RUNNING, "exited")
    assert up.status.services["seed"].ready
    for ask in (True, False):
        found = asyncio.run(status(world, STACK, ask=ask))
        assert found.state == StackState.RUNNING
    assert asyncio.run(health(world, STACK)).well
    assert asyncio.run(heal(Context(world), HealRequest(stack=STACK, insist=True))).healed == ()
    assert asyncio.run(stack.up(world)).changed == ()
    asyncio.run(restart(Context(world), RestartRequest(stack=STACK)))
    assert stack.number_of_starts() == 1
    asyncio.run(restart(Context(world), RestartRequest(stack=STACK, services=("seed",))))
    assert stack.number_of_starts() == 2
    asyncio.run(stop(Context(world), StopRequest(stack=STACK)))
    assert asyncio.run(status(world, STACK)).state == StackState.STOPPED
    asyncio.run(start(Context(world), StartRequest(stack=STACK)))
    assert asyncio.run(status(world, STACK)).state == StackState.RUNNING
    assert stack.number_of_starts() == 2


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_what_is_to_run_for_ever_may_not_end(stack, policy):
    stack.written(seeding(restart=policy))
    world = stack.world()
    with pytest.raises(NotReadyError):
        asyncio.run(stack.up(world))


def test_one_that_ends_later_is_no_drift_and_up_runs_it_again(stack):
    """Of an end outside of every run nobody knows whether it was a stop: who looks lets it be, `up` starts it."""
    stack.written(service())
    world = stack.world()
    asyncio.run(stack.up(world))
    stack.lately_ended("seed")
    assert asyncio.run(status(world, STACK)).state == StackState.RUNNING
    assert asyncio.run(health(world, STACK)).well
    assert asyncio.run(stack.up(world)).changed == ("seed",)


def test_a_server_that_was_stopped_with_0_is_down(stack):
    stack.written(seeding())
    world = stack.world()
    asyncio.run(stack.up(world))
    stack.lately_ended("web")
    found = asyncio.run(status(world, STACK))
    assert (found.state, found.services["web"].ready) == (StackState.STOPPED, False)
    assert [one.service for one in asyncio.run(health(world, STACK)).drift] == ["web"]
    assert asyncio.run(heal(Context(world), HealRequest(stack=STACK, insist=True))).healed == ("web",)


def test_workers_that_are_stopped_are_not_ready(stack):
    """Also where all of them end with 0 when they are told to."""
    stack.begin()
    stack.write({"worker": service(command=["sh", "-c", "trap 'exit 0' TERM; sleep 600"])})
    world = stack.world()
    asyncio.run(stack.up(world))
    CLOCK.advance(5)
    asyncio.run(stop(Context(world), StopRequest(stack=STACK)))
    for ask in (True, False):
        assert asyncio.run(status(world, STACK, ask=ask)).state == StackState.STOPPED
    asyncio.run(start(Context(world), StartRequest(stack=STACK)))
    assert stack.machine.box(f"{STACK}-worker-1").state == "running"


def test_an_undo_leaves_it_as_it_was(stack):
    """What had ended well is neither forgotten nor, where its container is still there, run again."""
    stack.written(seeding())
    world = stack.world()
    asyncio.run(stack.up(world))
    stack.write({"seed": seeding(), "web": service(ports=["8000:80"], image="fails:1")})
    with pytest.raises(NotReadyError):
        asyncio.run(stack.up(world))
    assert asyncio.run(status(world, STACK)).state == StackState.RUNNING
    assert stack.number_of_starts() == 1
    stack.write({"seed": seeding(labels={"new": "1"}), "web": service(ports=["8000:80"], image="fails:1")})
    with pytest.raises(NotReadyError):
        asyncio.run(stack.up(world))
    assert stack.machine.box(f"{STACK}-seed-1").state == "exited"
