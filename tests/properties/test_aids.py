"""What only helps to see, or to tidy up, never becomes the error: not logs, reports, timings, listeners, nor git."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import EngineError, HomeError, MoorageError, NotReadyError, RunError
from moorage.interfaces import World
from moorage.model.event import Action, Event
from moorage.model.request import RestartRequest, StartRequest, StopRequest
from moorage.model.state import RunOutcome, StackState
from moorage.testing import around_every_call
from moorage.work.operations.restart import restart
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from moorage.work.runs.failure_report import last_report
from tests.properties.memory import STACK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: EngineError("configured logging driver does not support reading"),
    lambda: HomeError("/home/me/moorage: no space left on device"),
    lambda: OSError(30, "Read-only file system"),
    lambda: RuntimeError("nobody expects this"),
)
AIDS = {
    "logs": "engine logs",
    "the report": "files write failures/",
    "room for reports": "files names failures",
    "timings": "store add_timing",
    "room for runs": "store forget_runs",
    "old timings": "store old_timings",
}
AFTER_THE_COMMIT = {"old generations": "store forget_generation", "git": "place"}
"""Before it, an undo needs the one, and the stack's name the other."""


@pytest.fixture
def stack():
    made = Transactions()
    made.begin()
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


class Broken:
    """A world in which every call that begins with some words raises; its events are kept."""

    def __init__(self, world: World, words: str, error: Callable[[], Exception]) -> None:
        self.struck = 0
        self.begun = False
        """A container was started."""
        self.events: list[Event] = []

        def around(said: str, call: Callable[[], Any]) -> Any:
            self.begun = self.begun or said.startswith("engine start")
            if said.startswith(words) and (self.begun or words not in AFTER_THE_COMMIT.values()):
                self.struck += 1
                raise error()
            return call()

        self.world = replace(around_every_call(world, around), emit=self.events.append)

    @property
    def notices(self) -> str:
        return "\n".join(event.message for event in self.events if event.action == Action.NOTICE)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("aid", AIDS)
def test_a_failure_stays_what_it_is(stack, aid, error):
    """The cause is told and all is undone, whatever else does not work."""
    stack.write({"db": service(), "web": {"image": "fails:1", "depends_on": ["db"]}})
    broken = Broken(stack.world(), AIDS[aid], error)
    with pytest.raises(MoorageError, match="web: ended with exit code 3") as caught:
        asyncio.run(stack.up(broken.world))
    assert caught.value.fields["undone"] is True
    assert stack.machine.of_project(STACK) == []
    if aid == "the report":
        assert "no failure report could be written" in broken.notices
        assert "failure report" not in (caught.value.hint or "")
        return
    report = last_report(stack.world(), STACK)
    assert report is not None
    logs = {one["service"]: "\n".join(one["log"]) for one in report["services"]}
    assert ("cannot be read" if aid == "logs" else "no") in logs["web"]
    assert report["error"]["message"].startswith("services.web: ended with exit code 3")


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("aid", {**AIDS, **AFTER_THE_COMMIT})
def test_a_success_stays_one(stack, aid, error):
    broken = Broken(stack.world(), {**AIDS, **AFTER_THE_COMMIT}[aid], error)
    assert asyncio.run(stack.up(broken.world)).status.state == StackState.RUNNING
    assert asyncio.run(status(stack.world(), STACK)).state == StackState.RUNNING
    if aid == "timings":
        assert broken.struck
        assert "times to ready" in broken.notices


def test_one_log_that_cannot_be_read_leaves_the_others(stack):
    """As with `logging: {driver: none}`, of one service."""
    say = ["sh", "-c", "echo heard; sleep 600"]
    stack.write({"loud": service(command=say), "quiet": {"image": "fails:1"}})
    world = stack.world()

    def around(said: str, call: Callable[[], Any]) -> Any:
        quiet = stack.machine.box(f"{STACK}-quiet-1")
        if quiet and said == f"engine logs {quiet.id}":
            message = "configured logging driver does not support reading"
            raise EngineError(message)
        return call()

    with pytest.raises(NotReadyError, match="quiet: ended with exit code 3"):
        asyncio.run(stack.up(around_every_call(world, around)))
    report = last_report(stack.world(), STACK)
    assert report is not None
    logs = {one["service"]: one["log"] for one in report["services"]}
    assert logs["loud"] == ["heard"]
    assert "does not support reading" in logs["quiet"][0]


@pytest.mark.parametrize("verb", ["up", "restart"])
def test_a_listener_that_fails_stops_nothing(stack, verb):
    """A terminal that is gone, a log that takes no line, a notification that cannot be sent."""

    def deaf(_event: Event) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    world = replace(stack.world(), emit=deaf)
    assert asyncio.run(stack.up(world)).status.state == StackState.RUNNING
    if verb == "restart":
        asyncio.run(restart(Context(world), RestartRequest(stack=STACK)))
    assert asyncio.run(status(stack.world(), STACK)).state == StackState.RUNNING


@pytest.mark.parametrize("verb", ["restart", "start"])
def test_what_rolls_forward_reports_its_failures_too(stack, verb):
    """With the log of all services, and the report's path in the error."""
    stack.write({"db": service(), "web": service(command=["sh", "-c", "test -f /ok; echo gone; exit 4"])})
    stack.write({"db": service(), "web": service(command=["sh", "-c", "sleep 600"])})
    world = stack.world()
    asyncio.run(stack.up(world))
    asyncio.run(stop(Context(world), StopRequest(stack=STACK)))
    box = stack.machine.box(f"{STACK}-web-1")
    assert box is not None
    box.command = ("sh", "-c", "echo gone; exit 4")
    request: Any = RestartRequest(stack=STACK) if verb == "restart" else StartRequest(stack=STACK)
    with pytest.raises(RunError, match="exit code 4") as caught:
        asyncio.run((restart if verb == "restart" else start)(Context(world), request))
    report = last_report(world, STACK)
    assert report is not None
    assert str(caught.value.fields["report"]).endswith(report["file"])
    assert (report["operation"], report["error"]["reason"]) == (verb, "exited")
    assert {one["service"]: one["log"] for one in report["services"]}["web"] == ["gone"]
    assert world.store.runs(STACK, 1)[0].outcome == RunOutcome.FAILED
    assert json.dumps(report)
