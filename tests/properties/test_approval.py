"""Consent, for every operation that changes a stack: asked for before the lock and before any effect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from moorage.cli.without_hub import run_directly
from moorage.errors import DefinitionError, InterruptedRunError, RunError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.request import DownRequest, RestartRequest, RollbackRequest, StartRequest, StopRequest, SweepRequest
from moorage.model.state import RunRecord
from moorage.model.step import Operation, Plan
from moorage.rules import naming
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.down import down
from moorage.work.operations.restart import restart
from moorage.work.operations.rollback import rollback
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.queries.consent import wants_approval
from moorage.work.runs import lifecycle
from moorage.work.runs.approval import approved_and_locked
from moorage.work.runs.context import Approval, Context
from tests.properties.memory import CLOCK, STACK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

ALL = ["up", "down", "stop", "start", "restart", "rollback"]


@pytest.fixture
def stack():
    made = Transactions()
    made.begin()
    yield made
    made.teardown()


def brought_up(stack: Transactions, operation: str, *, approve: bool) -> None:
    """Two generations, and whatever else the operation wants to find."""
    for more in ({}, {"environment": {"A": "1"}}):
        stack.write({"db": service(volumes=["data:/data"], **more), "web": service(ports=["8000:80"])})
        say(stack, approve=approve)
        asyncio.run(stack.up(stack.world()))
    if operation == "start":
        asyncio.run(stop(Context(stack.world()), StopRequest(stack=STACK)))
    if operation == "up":
        stack.write({**stack.services, "more": service()})
        say(stack, approve=approve)


def say(stack: Transactions, *, approve: bool) -> None:
    file = stack.folder / "compose.yaml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "x-moorage": {"approve": approve}}))


def do(stack: Transactions, operation: str, world: World, approval: Approval | None) -> None:
    """Do it, as its flow does."""
    asked: dict[str, Callable[[], Any]] = {
        "up": lambda: up(Context(world, approval=approval), UpRequest(source=Source(directory=stack.folder))),
        "down": lambda: down(Context(world, approval=approval), DownRequest(stack=STACK, volumes=True)),
        "stop": lambda: stop(Context(world, approval=approval), StopRequest(stack=STACK)),
        "start": lambda: start(Context(world, approval=approval), StartRequest(stack=STACK)),
        "restart": lambda: restart(Context(world, approval=approval), RestartRequest(stack=STACK)),
        "rollback": lambda: rollback(Context(world, approval=approval), RollbackRequest(stack=STACK)),
    }
    asyncio.run(asked[operation]())


async def consent() -> None:
    """Resume."""


async def refuse() -> None:
    raise InterruptedRunError("nobody approved it", stack=STACK, undone=True)


class Person:
    """Looks at what it is asked, and answers."""

    def __init__(self, world: World, answer: Callable[[], Awaitable[object]] = consent) -> None:
        self.world, self.answer = world, answer
        self.plans: list[Plan] = []

    async def ask(self, plan: Plan, say: Callable[[str], None]) -> None:
        assert self.world.lock(STACK).held() is None, "nothing is held while somebody thinks"
        assert not self.world.store.unfinished_runs(STACK)
        say("waiting for approval")
        self.plans.append(plan)
        await self.answer()


@pytest.mark.parametrize("operation", ALL)
@pytest.mark.parametrize("why", ["the definition", "the tag"])
def test_it_is_asked_for_and_without_it_nothing_happens(stack: Transactions, operation: str, why: str) -> None:
    brought_up(stack, operation, approve=why == "the definition")
    events: list[str] = []
    world = replace(stack.world(), emit=lambda event: events.append(event.message))
    before, runs = stack.look(), len(stack.store.runs(STACK))
    person = Person(world, refuse)
    with pytest.raises(InterruptedRunError):
        do(stack, operation, world, Approval(person.ask, production=why == "the tag"))
    assert stack.look() == before
    assert len(stack.store.runs(STACK)) == runs, "not even on record"
    (plan,) = person.plans
    assert plan.operation == Operation(operation)
    assert plan.steps
    assert events == ["waiting for approval"]
    consenting = Person(world)
    do(stack, operation, world, Approval(consenting.ask, production=why == "the tag"))
    assert consenting.plans == [plan]
    assert stack.look() != before or operation == "restart"
    assert [one.outcome for one in stack.store.runs(STACK)[:-runs]] == ["committed"]


@pytest.mark.parametrize("operation", ALL)
def test_nobody_is_asked_where_nothing_says_so(stack: Transactions, operation: str) -> None:
    brought_up(stack, operation, approve=False)
    person = Person(stack.world(), refuse)
    before = stack.look()
    do(stack, operation, person.world, Approval(person.ask))
    assert not person.plans
    assert stack.look() != before or operation == "restart"


@pytest.mark.parametrize("operation", ALL)
def test_what_has_changed_meanwhile_is_not_done(stack: Transactions, operation: str) -> None:
    brought_up(stack, operation, approve=True)

    async def change() -> None:
        world = stack.world()
        (web,) = world.engine.containers(STACK, "web")
        if operation == "rollback":
            for environment in ({"A": "2"}, {"A": "3"}):
                stack.write({"db": service(environment=environment)})
                await up(Context(world), UpRequest(source=Source(directory=stack.folder)))
        elif operation == "start":
            world.engine.start(web.id)
        elif operation == "down":
            world.engine.remove(web.id, volumes=False)
        else:
            world.engine.stop(web.id, 0)

    person = Person(stack.world(), change)
    with pytest.raises(RunError, match="the plan has changed since it was approved; nothing was done"):
        do(stack, operation, person.world, Approval(person.ask))
    assert person.plans
    assert all(one.outcome == "committed" for one in stack.store.runs(STACK))


def test_what_is_written_meanwhile_is_for_the_next_start(stack: Transactions) -> None:
    """The definition is read once: what was approved is what is done."""
    brought_up(stack, "up", approve=True)

    async def change() -> None:
        stack.write({"db": service()})

    person = Person(stack.world(), change)
    do(stack, "up", person.world, Approval(person.ask))
    (plan,) = person.plans
    assert {step.service for step in plan.steps if step.service} == {"more"}
    assert {box.service for box in person.world.engine.observe(STACK).containers} == {"db", "web", "more"}


def test_a_down_says_what_goes_and_what_stays(stack: Transactions) -> None:
    brought_up(stack, "down", approve=True)
    person = Person(stack.world())
    do(stack, "down", person.world, Approval(person.ask))
    detail = " | ".join(person.plans[0].steps[-1].detail)
    assert f"containers: {STACK}-db-1, {STACK}-web-1" in detail
    assert f"volumes and their data: {STACK}_data" in detail
    stopping = Person(stack.world())
    asyncio.run(stack.up(stack.world()))
    asyncio.run(down(Context(stopping.world, approval=Approval(stopping.ask)), DownRequest(stack=STACK)))
    assert f"volumes that stay: {STACK}_data" in stopping.plans[0].steps[-1].detail
    assert "elsewhere" not in detail, "what is not ours is not spoken of"


def test_what_cannot_be_done_is_refused_before_anybody_is_asked(stack: Transactions) -> None:
    brought_up(stack, "stop", approve=True)
    person = Person(stack.world())
    with pytest.raises(DefinitionError, match="no service 'nobody'"):
        asyncio.run(
            stop(Context(person.world, approval=Approval(person.ask)), StopRequest(stack=STACK, services=("nobody",)))
        )
    with pytest.raises(DefinitionError, match="no generation 9"):
        asyncio.run(rollback(Context(person.world, approval=Approval(person.ask)), RollbackRequest(stack=STACK, to=9)))
    assert not person.plans


def test_a_stack_that_lives_with_a_process_asks_nobody(stack: Transactions) -> None:
    brought_up(stack, "down", approve=True)
    person = Person(stack.world(), refuse)
    person.world.lock(naming.owner_lock(STACK)).acquire("owner", 0)
    do(stack, "down", person.world, Approval(person.ask))
    assert not person.plans


def test_known_however_many_runs_came_after(stack):
    """The source that asked for approval stands in the record of its start, behind all that was done since."""
    known = {"stack": STACK, "pid": 1, "host": "h", "started_at": CLOCK.now(), "finished_at": CLOCK.now()}
    made_it = {"request": {"approve": True}}
    stack.store.update_run(RunRecord(id="it", operation="up", outcome="committed", arguments=made_it, **known))
    assert wants_approval(stack.world(), STACK)
    for number in range(1000):
        stack.store.update_run(RunRecord(id=str(number), operation="stop", outcome="committed", **known))
    assert wants_approval(stack.world(), STACK)
    asyncio.run(stack.up(stack.world()))
    assert not wants_approval(stack.world(), STACK), "a start that does not ask for it takes its place"


def of(production: bool, answer: Callable[[], Awaitable[object]], stack: Transactions) -> tuple[Person, Approval]:
    person = Person(stack.world(), answer)
    return person, Approval(person.ask, production=production)


@pytest.mark.parametrize("operation", ALL)
def test_what_was_for_production_once_asks_whatever_way_it_is_reached(stack: Transactions, operation: str) -> None:
    """The mark is the stack's: another deployment, one whose tag was edited away, a direct run find it on record."""
    brought_up(stack, operation, approve=False)
    person, approval = of(True, consent, stack)
    do(stack, "stop" if operation == "start" else "restart", person.world, approval)
    before = stack.look()
    untagged, approval = of(False, refuse, stack)
    with pytest.raises(InterruptedRunError):
        do(stack, operation, untagged.world, approval)
    assert untagged.plans
    assert stack.look() == before
    consenting, approval = of(False, consent, stack)
    do(stack, operation, consenting.world, approval)
    assert stack.store.stack(STACK).production, "who agrees to this does not agree to more"


def test_the_mark_comes_with_the_first_start_and_with_one_that_finds_nothing_to_do(stack: Transactions) -> None:
    person, approval = of(True, consent, stack)
    do(stack, "up", person.world, approval)
    assert stack.store.stack(STACK).production
    stack.store.save_stack(stack.store.stack(STACK).model_copy(update={"production": False}))
    do(stack, "up", person.world, approval)
    assert stack.store.stack(STACK).production
    assert len(person.plans) == 1


def test_only_a_down_that_releases_the_ports_takes_the_mark_off_and_says_so(stack: Transactions) -> None:
    person, approval = of(True, consent, stack)
    do(stack, "up", person.world, approval)
    do(stack, "down", person.world, approval)
    assert stack.store.stack(STACK).production, "it stays with the volumes and the ports"
    request = DownRequest(stack=STACK, release_ports=True)
    refusing, refusal = of(False, refuse, stack)
    with pytest.raises(InterruptedRunError):
        asyncio.run(down(Context(refusing.world, approval=refusal), request))
    assert any("approval: not asked for any more" in step.detail for step in refusing.plans[0].steps)
    consenting, approval = of(False, consent, stack)
    asyncio.run(down(Context(consenting.world, approval=approval), request))
    assert not stack.store.stack(STACK).production
    do(stack, "up", refusing.world, refusal)
    assert len(refusing.plans) == 1


def test_a_file_that_no_longer_asks_is_itself_asked_about(stack: Transactions) -> None:
    brought_up(stack, "up", approve=True)
    say(stack, approve=False)
    person, approval = of(False, refuse, stack)
    with pytest.raises(InterruptedRunError):
        do(stack, "up", person.world, approval)
    consenting, approval = of(False, consent, stack)
    do(stack, "up", consenting.world, approval)
    do(stack, "stop", person.world, Approval(person.ask))
    assert len(person.plans) == 1, "from then on it is as the file says"


@pytest.mark.parametrize("what", ["time to live", "ready"])
def test_what_has_no_step_is_asked_about_too(stack: Transactions, what: str) -> None:
    """A plan without steps may still be committed: a time to live, or a file that no longer asks."""
    brought_up(stack, "down", approve=True)
    ready = {"x-moorage": {"ready": {"exec": ["true"], "timeout": "77s"}}} if what == "ready" else {}
    stack.write({**stack.services, "db": {**stack.services["db"], **ready}})
    say(stack, approve=False)
    person = Person(stack.world(), refuse)
    request = UpRequest(source=Source(directory=stack.folder), ttl_s=2.0 if what == "time to live" else None)
    with pytest.raises(InterruptedRunError):
        asyncio.run(up(Context(stack.world(), approval=Approval(person.ask)), request))
    (plan,) = person.plans
    assert "approval: from now on, nobody is asked any more" in plan.notices
    assert what == "ready" or any("time to live: 2 s" in notice for notice in plan.notices)
    assert wants_approval(stack.world(), STACK)


def test_who_waited_while_it_became_one_for_production_is_not_let_through(stack: Transactions) -> None:
    brought_up(stack, "stop", approve=False)
    person, approval = of(False, refuse, stack)
    run = lifecycle.new_run(Context(person.world, approval=approval), Operation.STOP, STACK, None)

    async def plan_when_it_has_become_one() -> lifecycle.Planned:
        stack.store.save_stack(stack.store.stack(STACK).model_copy(update={"production": True}))
        return await lifecycle.plan_stop(run, ())

    async def attempt() -> None:
        async with approved_and_locked(run, plan_when_it_has_become_one):
            raise AssertionError("it must not come this far")

    with pytest.raises(RunError, match="needs approval since a moment ago; nothing was done"):
        asyncio.run(attempt())
    assert not person.plans


@pytest.mark.parametrize("operation", ["down", "stop", "start", "restart"])
def test_without_a_hub_there_is_nobody_to_ask(stack: Transactions, operation: str) -> None:
    brought_up(stack, operation, approve=True)
    before = stack.look()
    with pytest.raises(DefinitionError, match="needs approval, and without the hub there is nobody") as refused:
        asyncio.run(run_directly(operation, {"stack": STACK}, stack.world()))
    assert "moorage hub start" in str(refused.value.hint)
    assert stack.look() == before


def test_a_sweep_leaves_it_alone_unless_its_time_is_over(stack: Transactions) -> None:
    """That it has a time to live was part of what was agreed to; that its directory is gone was not."""
    person, approval = of(True, consent, stack)
    do(stack, "up", person.world, approval)
    record, before = stack.store.stack(STACK), stack.look()
    gone = record.model_copy(update={"path": f"{record.path}/elsewhere"})
    stack.store.save_stack(gone)
    (finding,) = asyncio.run(sweep(Context(stack.world()), SweepRequest(volumes=True)))
    assert (finding.swept, finding.error) == (False, None)
    CLOCK.advance(stack.world().settings.sweep_again_s)
    (finding,) = asyncio.run(sweep(Context(stack.world()), SweepRequest(volumes=True)))
    assert not finding.swept
    assert f"moorage down --name {STACK}" in str(finding.error)
    stack.store.save_stack(record)
    assert stack.look() == before
    stack.store.save_stack(record.model_copy(update={"expires_at": CLOCK.now()}))
    (finding,) = asyncio.run(sweep(Context(stack.world()), SweepRequest(volumes=True)))
    assert finding.swept
    assert "volumes stay" in finding.what
    world = stack.world()
    assert world.engine.observe(STACK).volumes
    assert not world.engine.observe(STACK).containers
    assert stack.store.stack(STACK).production
