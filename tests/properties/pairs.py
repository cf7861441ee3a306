"""An operation is killed before one of its effects, the recovery before one of its own; a third process ends it.

Moments are the effects on the engine, its volumes, the registry and the files of the home, announced by `faulty`; and
whatever is done to the disk below `snapshots`, which Python's own audit events announce.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moorage.interfaces import World
from moorage.model.request import SweepRequest
from moorage.testing import Fault, ForeignFault, Killed, fail_at, faulty
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context
from moorage.work.volumes.archive import Reader
from tests.properties.foreign import CASES, Case, Met, has_content, restored, with_snapshot
from tests.properties.memory import STACK
from tests.properties.transactions import Transactions

_CHANGES = ("os.remove", "os.rename", "os.link", "os.mkdir", "os.rmdir", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR
_watched: list[tuple[str, Callable[[str], None]]] = []
"""The folder whose changes are moments, and who is told of each. Empty: nobody watches."""
_installed: list[bool] = []
FAR = {"earlier": "one", "later": "two"}
"""More than one file, so that half a volume is not a whole one."""


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched or (event != "open" and event not in _CHANGES):
        return
    folder, tell = _watched[0]
    path = str(arguments[0]) if isinstance(arguments[0], str | Path) else ""
    if path.startswith(folder) and (event != "open" or arguments[2] & _WRITING):
        tell(f"disk {event} {path.removeprefix(folder)}")


@contextmanager
def disk_seen(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """While the block lasts, `tell` is called before every change below a folder. What it raises keeps it from being done."""
    if not _installed:
        sys.addaudithook(_heard)
        _installed.append(True)
    _watched.append((str(folder), tell))
    try:
        yield
    finally:
        _watched.clear()


class HalfWritten:
    """`Volumes` whose `write` may be cut off in the midst: a part of the files is there by then."""

    def __init__(self, inner: Any, tell: Callable[[str], None]) -> None:
        self._inner, self._tell = inner, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, name: str, image: str, stack: str, tar: Any) -> None:
        """Write; the moment between is told of when all but the last of the files is there."""
        self._inner.write(name, image, stack, tar)
        files = self._inner.machine.volumes[name].files
        last = dict([files.popitem()] if files else [])
        self._tell(f"volumes write {name}, in the midst")
        files.update(last)


def with_more(stack: Transactions) -> None:
    """A snapshot of a volume; three files in it by now."""
    with_snapshot(stack)
    for name, text in FAR.items():
        stack.machine.put(stack.machine.existing(f"{STACK}-db-1"), f"/data/{name}", text)


def with_nothing(stack: Transactions) -> None:
    """The same, and the volume is empty by now."""
    with_more(stack)
    stack.machine.volumes[f"{STACK}_data"].files.clear()


WITH_PAIRS = {
    "restore": Case(with_more, restored, has_content("what shop-db-1 wrote"), undone=True),
    "restore into an empty volume": Case(with_nothing, restored, has_content("what shop-db-1 wrote"), undone=True),
    **{name: CASES[name] for name in ("rollback", "sweep", "down volumes ports", "up (change)", "snapshot", "heal")},
}


@dataclass
class Killing:
    """One operation of a case, killed at `first`; its recovery at `second` (0: it lives)."""

    case: Case
    first: int
    second: int

    def __post_init__(self) -> None:
        self.moments: list[str] = []
        """Where it was struck."""
        self.recovery = 0
        """How many effects the first recovery had."""

    def wrong(self) -> str | None:
        """Empty: nothing is lost, and the next one ends it. None: the operation has fewer effects than `first`."""
        with Met(self.case, ForeignFault(None, RuntimeError)) as met:
            stack = met.stack
            before = _content(stack)
            if not self._dies(stack, self.case.act(stack), self.first):
                return None
            wrong = self._lost(stack, before)
            died = self._dies(stack, _swept, self.second)
            if wrong := wrong or self._lost(stack, before):
                return wrong
            if self.second and not died:
                return ""
            stack.recover(0)
            return met._at_the_end() or self._left(stack) or self._again(met)

    def _dies(self, stack: Transactions, act: Any, at: int) -> bool:
        fault = fail_at(at, kill=True) if at else Fault(None)
        world = faulty(stack.world(), fault)
        world = replace(world, volumes=HalfWritten(world.volumes, fault))  # type: ignore[arg-type]
        try:
            with disk_seen(stack.folder / "home" / "snapshots", fault):
                asyncio.run(act(world))
        except Killed as killed:
            self.moments.append(str(killed))
            return True
        finally:
            self.recovery = len(fault.effects)
        assert not fault.struck, f"it went on after its death: {fault.effects[-1]}"
        return False

    def _lost(self, stack: Transactions, before: dict[str, str]) -> str:
        """What was in the volume is in it, or in a copy that can be read; or another content is committed there."""
        if not before or "down" in self._name or "sweep" in self._name or _content(stack) == before:
            return ""
        copies = list((stack.folder / "home" / "snapshots" / STACK).glob("before-*.tar.zst"))
        if any(_readable(copy, len(before)) for copy in copies):
            return ""
        done = [run for run in stack.store.runs(STACK) if run.operation == "restore" and run.outcome == "committed"]
        return "" if done else f"lost: {before}; there is {_content(stack)}"

    def _left(self, stack: Transactions) -> str:
        """No copy outlives the run that it was for, and nothing that is not whole."""
        found = [path.name for path in (stack.folder / "home" / "snapshots").rglob("*") if path.is_file()]
        return f"left: {found}" if found else ""

    def _again(self, met: Met) -> str:
        """Once more, and it is done."""
        if self.case.act is not restored:
            return ""
        asyncio.run(self.case.act(met.stack)(met.stack.world()))
        return "" if met._is_finished() else "the second try did not end it"

    @property
    def _name(self) -> str:
        return next(name for name, case in WITH_PAIRS.items() if case is self.case)


async def _swept(world: World) -> None:
    await sweep(Context(world), SweepRequest())


def _content(stack: Transactions) -> dict[str, str]:
    found = stack.machine.volumes.get(f"{STACK}_data")
    return dict(found.files) if found else {}


def _readable(copy: Path, files: int) -> bool:
    with Reader(copy) as reader:
        return reader.verify().contents.members == files + 1
