"""The same without chance: a death before every effect, and what chance has found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from moorage.errors import (
    DefinitionError,
    EngineError,
    EngineUnavailableError,
    HomeError,
    InterruptedRunError,
    MoorageError,
    RunError,
    UndoIncompleteError,
)
from moorage.model.definition import Source
from moorage.model.request import RollbackRequest, SweepRequest
from moorage.testing import FakeMachine, MemoryLocks, faulty
from moorage.testing.faults import ENGINE_EFFECTS
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.operations.rollback import rollback
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.queries.plan import plan_up
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from tests.properties.memory import CLOCK, STACK, Look, cancelled_at, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")


@pytest.fixture
def stack():
    """One stack whose first definition is written, not brought up."""
    made = Transactions()
    made.begin()
    yield made
    made.teardown()


def brought_up(stack: Transactions, **more: Any) -> Look:
    """The state of a stack that has an anonymous volume, a one-shot and two generations."""
    stack.write({"db": service(volumes=["data:/data", "/scratch"]), "job": {"image": "ends:1"}})
    asyncio.run(stack.up(stack.world()))
    first = {"pre_start": [{"command": ["true"]}]}
    stack.write({**stack.services, "web": service(ports=["8000:80"], depends_on=["db"], **{**first, **more})})
    asyncio.run(stack.up(stack.world()))
    return stack.look()


@pytest.mark.parametrize("kind", ["up", "change", "down", "down volumes ports", "stop", "rollback"])
def test_dies_before_every_effect(kind):
    """What the next process finds, it undoes or finishes, wherever the last one died."""
    for n in count(1):
        stack = Transactions()
        stack.begin()
        try:
            if not _dies_at(stack, kind, n):
                break
        finally:
            stack.teardown()
    assert n > (4 if kind == "stop" else 8)


def _dies_at(stack: Transactions, kind: str, n: int) -> bool:
    before = stack.look() if kind == "up" else brought_up(stack)
    services = stack.services
    acts = {
        "up": stack.up,
        "change": stack.up,
        "rollback": lambda world: rollback(Context(world), RollbackRequest(stack=STACK)),
    }
    if kind == "change":
        stack.write(
            {
                "db": stack.services["db"],
                "web": service(ports=["8001:80"], pre_start=[{"command": ["true"], "image": "far:1"}]),
                "api": service(volumes=["more:/x"]),
            }
        )
    died = stack.dies(acts.get(kind) or stack.ending(kind), n)
    stack.recover(0)
    if stack.unchanged(before):
        stack.write(services)
    elif kind in ("up", "change"):
        stack.check_up(tidy=not died)
    elif kind == "rollback":
        stack.check_current(stack.look(), tidy=not died)
    else:
        stack.check_ended(kind, before)
    stack.strangers_are_left_alone()
    stack.leases_are_unique()
    stack.nothing_is_unfinished()
    return died


def fails(stack: Transactions) -> None:
    with pytest.raises(MoorageError):
        asyncio.run(stack.up(stack.world()))


def test_what_was_stopped_is_stopped_after_an_undo(stack):
    brought_up(stack)
    asyncio.run(stack.ending("stop")(stack.world()))
    before = stack.look()
    stack.write({**stack.services, "web": service(image="fails:1", depends_on=["db"])})
    fails(stack)
    stack.same(before, "after the undo")


def runs_first(*commands: str, **more: Any) -> dict[str, Any]:
    return service(pre_start=[{"command": command.split()} for command in commands], **more)


def test_init_containers_run_in_their_order_and_go(stack):
    stack.write({"web": runs_first("echo one", "echo two", deploy={"replicas": 2})})
    world, said = stack.world(), []
    world = replace(world, emit=lambda event: said.append(event.message))
    asyncio.run(stack.up(world))
    assert [words for words in said if words.startswith("pre_start[")] == ["pre_start[0]: one", "pre_start[1]: two"]
    assert stack.machine.init_boxes(STACK) == []
    stack.check_up()
    said.clear()
    asyncio.run(stack.up(world))
    assert [words for words in said if words.startswith("pre_start[")] == []


def test_an_init_container_that_no_tableno_tablethe_start(stack):
    before = stack.look()
    no_table = {"command": ["sh", "-c", "echo no table; exit 3"]}
    stack.write({"web": service(pre_start=[{"command": ["true"]}, no_table, {"command": ["true"]}])})
    with pytest.raises(RunError, match=r"services\.web\.pre_start\[1\]: ended with exit code 3: no table") as caught:
        asyncio.run(stack.up(stack.world()))
    assert (caught.value.fields["reason"], caught.value.fields["exit_code_of_service"]) == ("pre_start failed", 3)
    assert "no table" in caught.value.fields["log"]
    stack.same(before, "after the undo")
    assert stack.machine.init_boxes(STACK) == []


def test_an_init_container_that_failed_is_kept_and_runs_again(stack):
    stack.write({"web": runs_first("true", "false")})
    keeps(stack)
    assert [box.exit_code for box in sorted(stack.machine.init_boxes(STACK), key=lambda box: box.name)] == [0, 1]
    with pytest.raises(RunError, match="ended with exit code 1"):
        asyncio.run(stack.up(stack.world()))
    assert (stack.machine.init_boxes(STACK), stack.machine.of_project(STACK)) == ([], [])


def test_an_init_container_has_an_end(stack):
    stack.write({"web": runs_first("sleep 600")})
    with pytest.raises(RunError, match=r"pre_start\[0\]: not done after 60 s"):
        asyncio.run(stack.up(stack.world()))
    assert (stack.machine.init_boxes(STACK), stack.machine.of_project(STACK)) == ([], [])


def test_a_compose_that_makes_no_init_containers_is_no_silence(stack, monkeypatch):
    monkeypatch.setattr(FakeMachine, "init_boxes", lambda *_: [])
    stack.write({"web": runs_first("true")})
    with pytest.raises(RunError, match=r"Compose 5\.0\.0 has made no init containers"):
        asyncio.run(stack.up(stack.world()))


def test_the_plan_tells_of_init_containers_and_their_images(stack):
    stack.write({"web": service(pre_start=[{"command": ["true"], "image": "far:1"}, {"command": ["true"]}])})
    world = stack.world()
    planned = asyncio.run(plan_up(world, resolve(world, UpRequest(source=Source(directory=stack.folder)))))
    steps = {step.id: step for step in planned.plan.steps}
    assert steps["pull web.pre_start.0"].detail == ("far:1",)
    assert steps["start web"].detail == ("after 2 init containers (pre_start)",)


def keeps(stack: Transactions) -> None:
    """An `up --keep-failed` that fails."""
    with pytest.raises(MoorageError) as caught:
        asyncio.run(up(Context(stack.world()), UpRequest(source=Source(directory=stack.folder), keep_failed=True)))
    assert caught.value.fields["undone"] is False


def outcomes(stack: Transactions) -> list[tuple[int, str]]:
    return [(one.number, one.outcome) for one in stack.store.generations(STACK)]


@pytest.mark.parametrize("n", range(12))
def test_a_first_start_that_was_kept(stack, n):
    """It is listed and knows its services; the next `up` that fails, or dies, clears away all of it but volumes."""
    nothing = stack.look()
    stack.write({"db": service(volumes=["data:/data"]), "web": service(image="fails:1", ports=["8000:80"])})
    keeps(stack)
    world = stack.world()
    assert outcomes(stack) == [(1, "kept")]
    assert [(one.path, one.generation) for one in stack.store.stacks() if one.name == STACK] == [
        (str(stack.folder), None)
    ]
    found = asyncio.run(status(world, STACK))
    assert (found.state, {*found.services}, found.generation) == ("degraded", {"db", "web"}, None)
    with pytest.raises(DefinitionError, match="no earlier generation"):
        asyncio.run(rollback(Context(world), RollbackRequest(stack=STACK)))
    assert asyncio.run(sweep(Context(world), SweepRequest())) == []

    stack.write({**stack.services, "web": service(image="fails:1", ports=["8000:80"], environment={"A": "b"})})
    if n == 0:
        fails(stack)
    else:
        with suppress(MoorageError):
            stack.dies(stack.up, n)
        stack.recover(0)
    after = stack.look()
    if after.containers:  # it died before it had begun, or after its end
        assert n == 1
        return
    for part in ("networks", "tags", "leases", "generation"):
        assert getattr(after, part) == getattr(nothing, part), part
    assert STACK not in {one.name for one in stack.store.stacks()}


def test_a_first_start_that_was_kept_can_be_mended_and_ended(stack):
    nothing = stack.look()
    stack.write({"db": service(volumes=["data:/data"]), "web": service(image="fails:1", ports=["8000:80"])})
    keeps(stack)
    stack.write({**stack.services, "web": service(ports=["8000:80"])})
    asyncio.run(stack.up(stack.world()))
    stack.check_up()
    assert outcomes(stack) == [(2, "current"), (1, "kept")]
    asyncio.run(stack.ending("down volumes ports")(stack.world()))
    assert stack.look() == nothing


@pytest.mark.parametrize("back", ["up", "rollback", "rollback to"])
def test_a_change_that_was_kept(stack, back):
    """An `up` that fails, and a rollback, bring back all of what was committed."""
    before = brought_up(stack)
    services = stack.services
    stack.write({**services, "web": service(image="fails:1", ports=["8001:80"], depends_on=["db"])})
    keeps(stack)
    assert outcomes(stack) == [(3, "kept"), (2, "current"), (1, "superseded")]
    if back == "up":
        fails(stack)
    else:
        asyncio.run(
            rollback(Context(stack.world()), RollbackRequest(stack=STACK, to=2 if back == "rollback to" else None))
        )
    stack.write(services)
    assert stack.look().containers == before.containers
    assert stack.look().leases == before.leases
    stack.check_up(tidy=False)


class Breaking:
    """An adapter whose calls raise from some moment on."""

    def __init__(self, adapter: Any, error: MoorageError, since: Callable[[str], bool]) -> None:
        self._adapter, self._error, self._since = adapter, error, since
        self.broken: list[str] = []

    def __getattr__(self, attribute: str) -> Any:
        if self._since(attribute):
            self.broken.append(attribute)
            raise self._error
        return getattr(self._adapter, attribute)


@pytest.mark.parametrize("operation", ["up", "rollback"])
@pytest.mark.parametrize("part", ["engine", "store"])
def test_what_is_committed_is_told(stack, operation, part):
    """From the commit on the engine, or the registry, does not answer: neither the stack nor the result changes."""
    if operation == "rollback":
        brought_up(stack)
        stack.write({"db": service(volumes=["data:/data", "/scratch"]), "job": {"image": "ends:1"}})
    world, runs = stack.world(), len(stack.store.runs(STACK))

    def committed(_attribute: str) -> bool:
        last = stack.store.runs(STACK, 1)
        return len(stack.store.runs(STACK)) > runs and last[0].outcome == "committed"

    error = EngineUnavailableError("gone") if part == "engine" else HomeError("read-only")
    breaking = Breaking(getattr(world, part), error, committed)
    broken = replace(world, **{part: breaking})
    act = stack.up(broken) if operation == "up" else rollback(Context(broken), RollbackRequest(stack=STACK))
    status = asyncio.run(act).status
    assert breaking.broken
    assert (status.state, status.generation) == ("running", stack.store.stack(STACK).generation)
    assert all(one.ready for one in status.services.values())
    stack.check_up(tidy=False)


def test_an_undo_gives_an_engine_time_but_not_for_ever(stack):
    """It answers when it is asked for its version, and breaks off every effect."""
    before, began = brought_up(stack), CLOCK.monotonic()
    stack.write({**stack.services, "web": service(image="fails:1")})
    world, failed = stack.world(), []

    def undoing(attribute: str) -> bool:
        failed.extend(box for box in stack.machine.of_project(STACK) if box.exit_code == 3)
        return bool(failed) and attribute in ENGINE_EFFECTS

    engine = Breaking(world.engine, EngineUnavailableError("broken off"), undoing)
    with pytest.raises(UndoIncompleteError):
        asyncio.run(stack.up(replace(world, engine=engine)))
    assert 30 <= CLOCK.monotonic() - began < 60
    assert len(engine.broken) < 200
    stack.recover(0)
    stack.same(before, "after the recovery")


def test_a_cancel_during_a_recovery_is_heard(stack):
    """What was cut off is recovered to its end, and nothing else is begun."""
    before = brought_up(stack)
    stack.write({**stack.services, "web": service(image="app:2"), "api": service()})
    assert stack.dies(stack.up, 8)
    assert not stack.unchanged(before)
    opened: list[Any] = []
    stack.store.open_run = opened.append
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled_at(1, stack.up, stack.world()))
    assert not opened
    stack.same(before, "after the recovery")
    stack.nothing_is_unfinished()


@pytest.mark.parametrize("kind", ["down", "stop", "start", "restart", "rollback"])
def test_a_cancel_while_it_is_written_down_is_not_carried_on_later(stack, kind):
    before = brought_up(stack)
    act = (
        (lambda world: rollback(Context(world), RollbackRequest(stack=STACK)))
        if kind == "rollback"
        else stack.ending(kind)
    )
    with pytest.raises(InterruptedRunError):
        asyncio.run(cancelled_at(1, act, stack.world()))
    stack.nothing_is_unfinished()
    stack.recover(0)
    stack.same(before, "after the next sweep")


def test_a_stop_knows_what_it_waited_for(stack):
    """Its order is that of the definition that another process was bringing up meanwhile: dependents first."""
    brought_up(stack)
    stack.write({"db": service(), "api": service(), "web": service(depends_on=["api"])})
    stopped: list[str] = []
    machine_end = stack.machine.end

    def end(box: Any, code: int) -> None:
        stopped.append(box.name)
        machine_end(box, code)

    async def both() -> None:
        locks = MemoryLocks(CLOCK)
        bringing_up = asyncio.ensure_future(stack.up(stack.neighbour(locks)))
        while not locks(STACK).held():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(stack.ending("stop")(stack.neighbour(locks)))
        await bringing_up
        stack.machine.end = end
        await stopping

    asyncio.run(both())
    assert stopped.index("shop-web-1") < stopped.index("shop-api-1")


def test_a_damaged_generation_file_blocks_nobody(stack):
    """What it says is gone; that is told, and the stack can be taken down."""
    brought_up(stack)
    stack.files.write(f"generations/{STACK}/2.json", "{")
    stack.write({**stack.services, "web": service(image="fails:1")})
    with pytest.raises(UndoIncompleteError, match="shop-web-1"):
        asyncio.run(stack.up(stack.world()))
    asyncio.run(stack.ending("down volumes ports")(stack.world()))
    assert stack.machine.of_project(STACK) == []
    stack.nothing_is_unfinished()


def test_a_sweep_spares_what_was_just_given_more_time(stack):
    """Another process gives it more time after the sweep has looked, before it has the lock."""
    brought_up(stack)
    record = stack.store.stack(STACK)
    past = CLOCK.now() - timedelta(seconds=1)
    stack.store.save_stack(record.model_copy(update={"expires_at": past}))
    world, later = stack.world(), record.model_copy(update={"expires_at": CLOCK.now() + timedelta(hours=1)})

    def lock(name: str) -> Any:
        inner = world.lock(name)
        if name == STACK and inner.held() is None:
            locks.append(name)
            if len(locks) == 2:  # the first one looks whether somebody is at it
                stack.store.save_stack(later)
        return inner

    locks: list[str] = []
    before = stack.look()
    asyncio.run(sweep(Context(replace(world, lock=lock)), SweepRequest()))
    assert len(locks) > 1
    stack.same(before, "after the sweep")
    assert stack.store.stack(STACK) == later


def test_anonymous_volumes_of_what_was_undone_go(stack):
    brought_up(stack)
    before = set(stack.machine.volumes)
    stack.write({**stack.services, "late": {"image": "fails:1", "volumes": ["/scratch"]}})
    fails(stack)
    assert set(stack.machine.volumes) == before


def test_anonymous_volumes_find_their_way_back(stack):
    """The definition that fails has no place for them: neither in the service nor, without it, at all."""
    stack.write({name: service(volumes=["/scratch"]) for name in ("db", "web", "api")})
    asyncio.run(stack.up(stack.world()))
    for box in stack.machine.of_project(STACK):
        stack.machine.put(box, "/scratch/kept", f"what {box.name} wrote")
    before = stack.look()
    stack.write({"db": service(), "web": service(image="app:2", volumes=["/scratch"]), "late": {"image": "fails:1"}})
    fails(stack)
    stack.same(before, "after the undo")


def test_dies_again_before_every_effect_of_the_recovery():
    """A rollback cannot get through, and dies; so does who undoes it. The volume has no place in what is gone back to."""
    for again in count(1):
        stack = Transactions()
        stack.begin()
        try:
            stack.write({"db": service(), "web": service(ports=["8000:80"])})
            asyncio.run(stack.up(stack.world()))
            stack.write({"db": service(volumes=["/scratch"]), "web": service(deploy={"replicas": 2})})
            asyncio.run(stack.up(stack.world()))
            for box in stack.machine.of_project(STACK):
                stack.machine.put(box, "/scratch/kept", "what was written")
            before = stack.look()
            stack.machine.hidden_ports.add((8000, "tcp"))
            assert stack.dies(lambda world: rollback(Context(world), RollbackRequest(stack=STACK)), 10)
            died = stack.dies(lambda world: sweep(Context(world), SweepRequest()), again)
            stack.recover(0)
            stack.same(before, f"after a death at {again}")
            stack.nothing_is_unfinished()
        finally:
            stack.teardown()
        if not died:
            break
    assert again > 20


@pytest.mark.parametrize(
    ("what", "name"), [("create", "_shop-web-2"), ("rename", "_shop-web-1"), ("remove", "shop-web-1")]
)
def test_replicas_keep_their_numbers(stack, what, name):
    """Compose is cut off between two of them, or at one: it would number a new one after the highest that is there."""
    stack.write({"db": service(), "web": service(deploy={"replicas": 3}, volumes=["/scratch"])})
    asyncio.run(stack.up(stack.world()))
    before = stack.look()
    stack.write({**stack.services, "web": service(image="app:2", deploy={"replicas": 3}, volumes=["/scratch"])})

    failed: list[str] = []

    def fail(effect: str) -> None:
        if effect.startswith(what) and effect.endswith(name) and not failed:
            failed.append(effect)
            raise EngineError("no space left on device")

    with pytest.raises(MoorageError, match="no space"):
        asyncio.run(stack.up(faulty(stack.world(), fail)))
    stack.same(before, "after the undo")


@pytest.mark.parametrize("kind", ["post_start", "pre_stop"])
def test_another_hook_makes_another_container(stack, kind):
    """As with Compose, which would replace it as soon as something else makes us call it."""
    brought_up(stack)
    stack.write({**stack.services, "web": service(**{kind: [{"command": ["false"]}]})})
    if kind == "post_start":
        fails(stack)
    else:
        asyncio.run(stack.up(stack.world()))
        stack.check_up()
        assert stack.look().generation[0] == 3


def test_a_hook_without_end_fails_the_start(stack):
    brought_up(stack)
    before = stack.look()
    stack.write({**stack.services, "web": service(post_start=[{"command": ["sleep", "600"]}])})
    world = stack.world()
    world = replace(world, settings=world.settings.model_copy(update={"hook_timeout_s": 0.5}))
    with pytest.raises(RunError, match=r"services\.web\.post_start: sleep 600: has not ended within 0\.5 s") as caught:
        asyncio.run(stack.up(world))
    assert "MOORAGE_HOOK_TIMEOUT_S" in str(caught.value.hint)
    stack.same(before, "after the undo")


def test_names_of_replacements_that_were_cut_off(stack):
    """Compose makes the new container under another name; it keeps that when Compose dies before it renames it."""
    brought_up(stack)
    (box,) = [box for box in stack.machine.of_project(STACK) if box.name == "shop-web-1"]
    box.name = "0123456789ab_shop-web-1"
    stack.write({**stack.services, "api": service()})
    asyncio.run(stack.up(stack.world()))
    assert {box.name for box in stack.machine.of_project(STACK)} >= {"shop-web-1", "shop-api-1"}
