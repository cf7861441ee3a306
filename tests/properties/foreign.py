"""What every operation has to come to when any call of any adapter raises what nobody expects."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import requests
import urllib3

from moorage.adapters.files import LocalFiles
from moorage.errors import MoorageError, RunError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.request import HealRequest, RestoreRequest, RollbackRequest, SnapshotRequest, SweepRequest
from moorage.model.step import Operation
from moorage.rules import labels
from moorage.testing import ForeignFault, around_every_call
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.build import build
from moorage.work.operations.heal import heal
from moorage.work.operations.orphans import remove_orphans
from moorage.work.operations.restore import restore
from moorage.work.operations.rollback import rollback
from moorage.work.operations.snapshot import snapshot
from moorage.work.operations.sweep import sweep
from moorage.work.queries.health import health
from moorage.work.runs.context import Context
from tests.properties.memory import CLOCK, STACK, Look, service
from tests.properties.transactions import Transactions

SAID = "made to fail"
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: requests.exceptions.ChunkedEncodingError(SAID),
    lambda: json.JSONDecodeError(SAID, "", 0),
    lambda: RuntimeError(SAID),
    lambda: KeyError(SAID),
    lambda: OSError(5, SAID),
    lambda: sqlite3.OperationalError(SAID),
    lambda: urllib3.exceptions.ProtocolError(SAID),
    lambda: TimeoutError(SAID),
)
"""One of each family of exceptions that code of ours or of Python's treats in a way of its own."""

Act = Callable[[World], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Case:
    """An operation: how to get to where it begins, what it is, and what it has to come to."""

    prepare: Callable[[Transactions], None]
    act: Callable[[Transactions], Act]
    finished: Callable[[Transactions, Look], bool]
    """Whether all is there that it was to lead to. Given the look before it."""
    undone: bool = False
    """True: where it fails, all is as before. False: it goes forward; what is cut off is finished by the next one."""
    record: Operation | None = None
    """As what it stands on record. None: it has no record."""


def brought_up(stack: Transactions) -> None:
    """A stack with an anonymous volume, a one-shot and two generations."""
    stack.write({"db": service(volumes=["data:/data", "/scratch"]), "job": {"image": "ends:1"}})
    asyncio.run(stack.up(stack.world()))
    stack.write({**stack.services, "web": service(ports=["8000:80"], depends_on=["db"])})
    asyncio.run(stack.up(stack.world()))
    for box in stack.machine.of_project(STACK):
        for path in box.mounts:
            stack.machine.put(box, f"{path}/kept", f"what {box.name} wrote")


def changed(stack: Transactions) -> None:
    brought_up(stack)
    stack.write({"db": stack.services["db"], "web": service(ports=["8001:80"]), "api": service(image="far:1")})


def drifted(stack: Transactions) -> None:
    """One has ended, one is gone, one is not as its generation has it."""
    stack.write({name: service(volumes=[f"{name}:/data"]) for name in ("db", "web", "api")})
    asyncio.run(stack.up(stack.world()))
    boxes = {box.labels[labels.COMPOSE_SERVICE]: box for box in stack.machine.of_project(STACK)}
    stack.machine.end(boxes["db"], 1)
    stack.machine.drop(boxes["web"], volumes=False)
    boxes["api"].labels[labels.DIGEST] = "of another definition"


def stopped(stack: Transactions) -> None:
    brought_up(stack)
    asyncio.run(stack.ending("stop")(stack.world()))


def expired(stack: Transactions) -> None:
    """A stack whose time has passed, a run that was killed, and a tag that nothing uses."""
    brought_up(stack)
    record = stack.store.stack(STACK)
    assert record
    stack.store.save_stack(record.model_copy(update={"expires_at": CLOCK.now()}))
    CLOCK.advance(1)
    stack.machine.tags[f"{labels.pin_prefix(STACK)}web:id-none"] = stack.machine.tags["app:1"]
    assert stack.dies(stack.ending("stop"), 3)


def orphaned(stack: Transactions) -> None:
    """A stack that was to live as long as a process that was killed."""
    brought_up(stack)
    stack.files.write(f"temporary/{STACK}.json", "{}")


def with_snapshot(stack: Transactions) -> None:
    """A snapshot, and content that was written after it. Snapshots lie on a true disk, so the home does too."""
    stack.files = LocalFiles(stack.folder / "home")
    (stack.folder / "home").mkdir()
    stack.write({"db": service(volumes=["data:/data"]), "web": service(ports=["8000:80"], depends_on=["db"])})
    asyncio.run(stack.up(stack.world()))
    stack.machine.put(stack.machine.existing(f"{STACK}-db-1"), "/data/kept", f"what {STACK}-db-1 wrote")
    asyncio.run(taken(stack)(stack.world()))
    for box in stack.machine.of_project(STACK):
        for path in box.mounts:
            stack.machine.put(box, f"{path}/kept", f"what {box.name} wrote later")


def to_build(stack: Transactions) -> None:
    stack.write(
        {
            "db": {
                "image": "far:built",
                "build": {"context": ".", "dockerfile_inline": 'FROM app:1\nCMD ["sleep", "600"]'},
            }
        }
    )


def archive_of(stack: Transactions) -> Path:
    return stack.folder / "data.tar.zst"


def taken(stack: Transactions) -> Act:
    return lambda world: snapshot(
        Context(world), SnapshotRequest(stack=STACK, volume="data", target=archive_of(stack), force=True)
    )


def restored(stack: Transactions) -> Act:
    return lambda world: restore(Context(world), RestoreRequest(stack=STACK, source=archive_of(stack), force=True))


async def healed(world: World) -> None:
    """What a heal could not mend it tells in what it gives back."""
    found = await heal(Context(world), HealRequest(stack=STACK, insist=True))
    if not found.well:
        raise RunError("not well", undone=False)


def is_up(stack: Transactions, _before: Look) -> bool:
    stack.check_up(tidy=False)
    return True


def is_back(stack: Transactions, before: Look) -> bool:
    after = stack.look()
    stack.check_current(after, tidy=False)
    return bool(after.generation[0] != before.generation[0])


def has_ended(kind: str) -> Callable[[Transactions, Look], bool]:
    def check(stack: Transactions, before: Look) -> bool:
        stack.check_ended(kind, before)
        return True

    return check


def all_run(stack: Transactions, _before: Look) -> bool:
    return all(container[3] != "off" for container in stack.look().containers)


def is_well(stack: Transactions, _before: Look) -> bool:
    """The services run from their generation: what drifted was made anew, not only started."""
    return asyncio.run(health(stack.world(), STACK)).well


def has_expired(stack: Transactions, _before: Look) -> bool:
    after, record = stack.look(), stack.store.stack(STACK)
    return (after.containers, after.networks, after.leases) == ([], [], []) and record is not None


def is_gone(stack: Transactions, _before: Look) -> bool:
    after = stack.look()
    left = [*after.containers, *after.networks, *after.tags, *after.leases, *stack.files.names("temporary")]
    return not left and after.generation == (None, []) and f"{STACK}_data" not in after.volumes


def has_content(written: str) -> Callable[[Transactions, Look], bool]:
    def check(stack: Transactions, before: Look) -> bool:
        after = stack.look()
        (kept,) = [files for name, (_, files) in after.volumes.items() if name == f"{STACK}_data"]
        said = dict(kept).get("kept")
        return said == written and [c[:4] for c in after.containers] == [c[:4] for c in before.containers]

    return check


def is_built(stack: Transactions, before: Look) -> bool:
    return stack.look() == before and "far:built" in stack.machine.tags


def rolled_on(stack: Transactions, kind: str) -> Act:
    return stack.ending(kind)  # type: ignore[return-value]


CASES: dict[str, Case] = {
    "up (first)": Case(lambda _stack: None, lambda s: s.up, is_up, undone=True, record=Operation.UP),
    "up (change)": Case(changed, lambda s: s.up, is_up, undone=True, record=Operation.UP),
    "rollback": Case(
        brought_up,
        lambda _stack: lambda world: rollback(Context(world), RollbackRequest(stack=STACK)),
        is_back,
        undone=True,
        record=Operation.ROLLBACK,
    ),
    "down": Case(brought_up, lambda s: rolled_on(s, "down"), has_ended("down")),
    "down volumes ports": Case(
        brought_up, lambda s: rolled_on(s, "down volumes ports"), has_ended("down volumes ports")
    ),
    "stop": Case(brought_up, lambda s: rolled_on(s, "stop"), has_ended("stop")),
    "start": Case(stopped, lambda s: rolled_on(s, "start"), all_run),
    "restart": Case(brought_up, lambda s: rolled_on(s, "restart"), all_run),
    "heal": Case(drifted, lambda _stack: healed, is_well),
    "snapshot": Case(brought_up, taken, has_content("what shop-db-1 wrote")),
    "restore": Case(with_snapshot, restored, has_content("what shop-db-1 wrote"), undone=True),
    "sweep": Case(expired, lambda _stack: lambda world: sweep(Context(world), SweepRequest()), has_expired),
    "orphan": Case(orphaned, lambda _stack: remove_orphans, is_gone),
    "build": Case(
        to_build,
        lambda s: lambda world: build(Context(world), UpRequest(source=Source(directory=s.folder))),
        is_built,
    ),
}


def comparable(look: Look) -> Look:
    """Without the identity of volumes: what was emptied and filled again is another one with the same in it."""
    return replace(
        look,
        containers=[
            (*one[:7], {path: files for path, (_, files) in one[7].items()}, one[8]) for one in look.containers
        ],
        volumes={name: files for name, (_, files) in look.volumes.items()},
    )


class Met:
    """One operation that met one foreign exception: what it told, and whether that is true."""

    def __init__(self, case: Case, fault: ForeignFault) -> None:
        self.case, self.fault = case, fault
        self.stack = Transactions()
        self.stack.begin()
        self.notices: list[str] = []

    def __enter__(self) -> Self:
        self.case.prepare(self.stack)
        self.before = self.stack.look()
        self.runs = len(self.stack.store.runs(STACK))
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stack.teardown()

    def wrong(self) -> str:
        """Do it. Empty: all is well. Else what is not."""
        try:
            try:
                told = self._told()
            except Exception as error:  # noqa: BLE001 - that it comes out is what is wrong
                return f"{type(error).__name__} came out: {error}"
            return self._is_true(told)
        except AssertionError as problem:
            return str(problem)

    def _told(self) -> MoorageError | None:
        """The error that came out. None: it was told as done."""
        world = replace(self.stack.world(), emit=lambda event: self.notices.append(event.message))
        try:
            asyncio.run(self.case.act(self.stack)(around_every_call(world, self.fault)))
        except MoorageError as error:
            return error
        return None

    def _is_true(self, told: MoorageError | None) -> str:
        stack = self.stack
        if told is None:
            return self._as_done()
        if SAID not in " ".join([str(told), *self.notices]):
            return f"the error is not named: {told}"
        if self._committed():
            return f"it is committed, and told as failed: {told}"
        if told.fields.get("undone") is True and not self._unchanged():
            return f"told as undone, and it is not: {told}"
        if self.case.undone and told.exit_code not in (5, 6):
            return f"exit code {told.exit_code}: {told}"
        if self.case.undone and told.exit_code == 5 and not self._unchanged():
            return f"told as undone, and it is not: {told}"
        stack.recover(0)
        return self._at_the_end()

    def _as_done(self) -> str:
        if self.stack.store.unfinished_runs(STACK):
            if SAID not in " ".join(self.notices):
                return "told as done, and its record is open"
            self.stack.recover(0)  # a heal tells what it met, and looks how all is now
        if self.case.record and not self._committed() and not self._unchanged():
            return "told as done, and not committed"
        if self._is_finished():
            return ""
        if not self.case.undone and self.fault.struck:  # it was told in what was given back
            self.stack.recover(0)
            return self._at_the_end()
        return "told as done, and it is not"

    def _at_the_end(self) -> str:
        """After the next sweep."""
        if self.stack.store.unfinished_runs():
            return "an open record that nothing can recover"
        self.stack.strangers_are_left_alone()
        return "" if self._unchanged() or self._is_finished() else f"neither as before nor done: {self.stack.look()}"

    def _is_finished(self) -> bool:
        try:
            return self.case.finished(self.stack, self.before)
        except AssertionError:
            return False

    def _unchanged(self) -> bool:
        return comparable(self.stack.look()) == comparable(self.before)

    def _committed(self) -> bool:
        new = self.stack.store.runs(STACK)[: -self.runs or None]
        return any(one.operation == self.case.record and one.outcome == "committed" for one in new)

    def dies(self, at: int) -> bool:
        """Do it in a process that dies before its `at`-th effect. False: it was done before that."""
        return self.stack.dies(self.case.act(self.stack), at)

    def wrong_after_recovery(self) -> str:
        """A sweep that meets the fault, and one that does not. Empty: all is well."""
        try:
            try:
                asyncio.run(sweep(Context(around_every_call(self.stack.world(), self.fault)), SweepRequest()))
            except MoorageError as error:
                if SAID not in str(error):
                    return f"the error is not named: {error}"
            except Exception as error:  # noqa: BLE001 - that it comes out is what is wrong
                return f"{type(error).__name__} came out: {error}"
            self.stack.recover(0)
            return self._at_the_end()
        except AssertionError as problem:
            return str(problem)


def calls_of(case: Case) -> list[str]:
    """The calls of an operation that meets nothing, in words."""
    fault = ForeignFault(None, RuntimeError)
    with Met(case, fault) as met:
        wrong = met.wrong()
        assert not wrong, f"without a fault: {wrong}"
    return fault.calls


def calls_of_recovery(case: Case, at: int) -> list[str]:
    """The calls of the sweep after a death. Empty: it was done before that."""
    fault = ForeignFault(None, RuntimeError)
    with Met(case, fault) as met:
        if not met.dies(at):
            return []
        wrong = met.wrong_after_recovery()
        assert not wrong, f"died at {at}, without a fault: {wrong}"
    return fault.calls
