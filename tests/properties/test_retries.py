"""Retries are the run's own: whoever brings a stack up without Prefect retries as a flow does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from moorage.errors import EngineUnavailableError, ImageError, MoorageError, TransientImageError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.event import Action, Event
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.work.runs.result import Result
from tests.properties.memory import CLOCK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")


@pytest.fixture
def stack():
    made = Transactions()
    made.begin()
    yield made
    made.teardown()


class Registry:
    """Compose whose pulls fail so many times."""

    def __init__(self, compose, error: MoorageError, times: int) -> None:
        self._compose, self.error, self.left, self.pulls = compose, error, times, 0

    def __getattr__(self, name: str):
        return getattr(self._compose, name)

    def pull(self, *arguments) -> None:
        self.pulls += 1
        if self.left:
            self.left -= 1
            raise self.error
        self._compose.pull(*arguments)


def brought_up(stack: Transactions, error: MoorageError, times: int) -> tuple[Registry, list[Event], Result]:
    stack.write({"web": service(image="far:1")})
    world: World = stack.world()
    registry, events = Registry(world.compose, error, times), []
    world = replace(world, compose=registry, emit=events.append)
    try:
        return registry, events, asyncio.run(up(Context(world), UpRequest(source=Source(directory=stack.folder))))
    except MoorageError as failed:
        failed.events, failed.registry = events, registry
        raise


def test_a_pull_that_may_pass_is_tried_again(stack: Transactions) -> None:
    began = CLOCK.monotonic()
    registry, events, result = brought_up(stack, TransientImageError("the registry is busy", service="web"), 3)
    assert registry.pulls == 4
    assert result.status.state == "running"
    told = [event for event in events if event.action == Action.RETRY]
    assert [(event.step, event.service) for event in told] == [("pull web", "web")] * 3
    assert [event.message for event in told] == [
        f"again in {pause} s, {n} of 4: the registry is busy" for pause, n in ((1, 2), (2, 3), (4, 4))
    ]
    own = [event.action for event in events if event.step == "pull web" and event.action != Action.PROGRESS]
    assert own == [Action.STARTED, *[Action.RETRY] * 3, Action.DONE], "what is tried again has not failed"
    assert 7.0 <= CLOCK.monotonic() - began <= 7.0 + 4, "1, 2 and 4 seconds, and a little of chance"


def test_it_is_not_tried_for_ever(stack: Transactions) -> None:
    before = stack.look()
    with pytest.raises(TransientImageError) as caught:
        brought_up(stack, TransientImageError("the registry is busy", service="web"), 9)
    assert caught.value.registry.pulls == 4
    assert [event.action for event in caught.value.events if event.step == "pull web"].count(Action.FAILED) == 1
    assert caught.value.fields["undone"]
    assert stack.look() == before


def test_what_does_not_pass_is_not_tried_again(stack: Transactions) -> None:
    with pytest.raises(MoorageError) as caught:
        brought_up(stack, ImageError("no such image", service="web"), 1)
    assert caught.value.registry.pulls == 1
    assert not [event for event in caught.value.events if event.action == Action.RETRY]


class Flaky:
    """An engine that loses one answer, or one question, to a call of a name."""

    def __init__(self, engine, call: str, *, done: bool) -> None:
        self._engine, self._call, self._done = engine, call, done
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        found = getattr(self._engine, name)
        if name not in ("start", "exec"):
            return found

        def called(*arguments, **options):
            lost = name == self._call and name not in self.calls
            self.calls.append(name)
            if lost and not self._done:
                raise EngineUnavailableError("the connection ended")
            answer = found(*arguments, **options)
            if lost:
                raise EngineUnavailableError("the connection ended")
            return answer

        return called


@pytest.mark.parametrize("done", [False, True], ids=["question lost", "answer lost"])
@pytest.mark.parametrize("call", ["start", "exec"])
def test_an_engine_that_is_away_for_a_moment_costs_no_start_and_no_hook(stack: Transactions, call, done) -> None:
    """A step that is tried again goes on from what is there: the hook of a container that has started is still due."""
    stack.write({"web": service(post_start=[{"command": ["true"]}])})
    world: World = stack.world()
    engine, events = Flaky(world.engine, call, done=done), []
    world = replace(world, engine=engine, emit=events.append)
    result = asyncio.run(up(Context(world), UpRequest(source=Source(directory=stack.folder))))
    assert result.status.state == "running"
    assert [event.step for event in events if event.action == Action.RETRY] == ["start web"]
    assert engine.calls.count("exec") == (2 if call == "exec" else 1)
    assert engine.calls.count("start") == (1 if call == "exec" or done else 2)
