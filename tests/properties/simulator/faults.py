"""What goes wrong at an effect: the process dies there, an answer is lost, a request is refused, doubled, half done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from moorage.errors import EngineError, EngineUnavailableError, HomeError
from moorage.testing import Killed
from moorage.testing.faults import ENGINE_EFFECTS, FILES_EFFECTS, STORE_EFFECTS

if TYPE_CHECKING:
    from tests.properties.simulator.commands import Command

VOLUMES_EFFECTS = ("make", "write", "load", "remove_helpers")
EFFECTS = frozenset(
    [f"engine {one}" for one in ENGINE_EFFECTS]
    + [f"store {one}" for one in STORE_EFFECTS]
    + [f"files {one}" for one in FILES_EFFECTS]
    + [f"volumes {one}" for one in VOLUMES_EFFECTS]
    + ["disk discard", "disk put_in_place", "disk write_checksum", "volumes read"]
)
"""Calls that change something; and the reading of a volume, which is slow enough to be cut off."""


class Kind(StrEnum):
    """What goes wrong."""

    DIES_BEFORE = "dies before it"
    DIES_AFTER = "dies after it"
    DIES_HALFWAY = "dies halfway"
    """Of what is one effect for the kernel or the engine, as before it; of a copy, when half is written."""
    LEAVES_ORPHAN = "dies, its child goes on"
    """In Compose; else as after it."""
    REFUSED = "refused"
    LOST_ANSWER = "done, answer lost"
    HALF_DONE = "half done, then refused"
    DOUBLED = "done twice"
    ENGINE_AWAY = "engine away for a while"
    CANCELLED = "cancelled"


DEATHS = (Kind.DIES_BEFORE, Kind.DIES_AFTER, Kind.DIES_HALFWAY, Kind.LEAVES_ORPHAN)
_AWAY_S = 5.0
_SLOW_S = (0.0, 0.1, 0.5, 3.0)
"""How long a child that is left behind rests before it goes on."""
_ONE_BY_ONE = ("compose create", "compose build", "compose pull")
"""Calls whose effects are announced one by one."""


@dataclass
class Fault:
    """One fault of one process: at its `at`-th effect, from 1."""

    kind: Kind
    at: int


def _refusal(words: str) -> Exception:
    kind = HomeError if words.startswith(("store", "files", "disk")) else EngineError
    return kind(f"made to fail: {words}")


def _is_of_engine(words: str) -> bool:
    return words.startswith(("engine", "volumes", "compose"))


class Struck:
    """Makes the calls of a command's process, with its faults."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.faults = list(command.faults)
        self.counted = 0
        self.struck: list[Kind] = []
        self.struck_at: list[str] = []
        """The words of what was struck."""
        self._in_transaction = False

    @property
    def refused(self) -> bool:
        """Something was made to fail, so that it may fail. A death is no excuse."""
        return any(kind not in DEATHS and kind != Kind.DOUBLED for kind in self.struck)

    def call(self, words: str, call: Callable[[], Any]) -> Any:
        """One call of an adapter, looks too."""
        process, stage = self.command.process, self.command.stage
        self._refuse_the_dead(words)
        if self._in_transaction:  # nobody else writes meanwhile
            return call()
        process.scheduler.turn(process)
        self._refuse_the_dead(words)
        if words.startswith(_ONE_BY_ONE):
            answer = call()
            stage.judge.look(self.command, words)
            if process.orphan:  # nobody hears it
                process.die(words)
            return answer
        if stage.engine_is_away and _is_of_engine(words):
            raise EngineUnavailableError("the engine is away")
        if words.startswith("store"):
            call = partial(self._transaction, call)
        if " ".join(words.split()[:2]) not in EFFECTS:
            return call()
        return self._effect(words, call)

    def _transaction(self, call: Callable[[], Any]) -> Any:
        self._in_transaction = True
        try:
            return call()
        finally:
            self._in_transaction = False

    def _refuse_the_dead(self, words: str) -> None:
        process = self.command.process
        if process.dead and not process.orphan:
            raise Killed(words)

    def inner(self, words: str) -> None:
        """Just before an effect of Compose."""
        process, stage = self.command.process, self.command.stage
        self._refuse_the_dead(words)
        stage.judge.look(self.command, f"before compose {words}")  # what came of the one before
        process.scheduler.turn(process)
        self._refuse_the_dead(words)
        if stage.engine_is_away and not process.orphan:
            raise EngineUnavailableError("the engine is away")
        self._effect(f"compose {words}", lambda: None)

    def _effect(self, words: str, call: Callable[[], Any]) -> Any:
        self.counted += 1
        fault = next((one for one in self.faults if one.at == self.counted), None)
        stage = self.command.stage
        stage.clock.advance(0.01)
        stage.effects += 1
        stage.trace.append(f"{self.command.name}: {words}" + (f" [{fault.kind}]" if fault else ""))
        if fault is None:
            return self._done(words, call)
        self.struck.append(fault.kind)
        self.struck_at.append(words)
        stage.faults[fault.kind] += 1
        return self._struck(fault, words, call)

    def _done(self, words: str, call: Callable[[], Any]) -> Any:
        self.command.stage.judge.before(self.command, words)
        try:
            return call()
        finally:
            self.command.stage.judge.look(self.command, words)

    def _struck(self, fault: Fault, words: str, call: Callable[[], Any]) -> Any:
        process, stage, kind = self.command.process, self.command.stage, fault.kind
        if kind == Kind.CANCELLED:
            if process.loop and process.task:
                process.loop.call_soon(process.task.cancel)
            return self._done(words, call)
        if kind == Kind.ENGINE_AWAY:
            stage.engine_back_s = stage.clock.monotonic() + _AWAY_S
            if _is_of_engine(words):
                raise EngineUnavailableError("the engine is away")
            return self._done(words, call)
        if kind == Kind.LEAVES_ORPHAN and words.startswith("compose") and not process.orphan:
            self.command.outlived = stage.judge.open_runs()
            process.scheduler.leave_orphan(process)
            process.sleep(stage.random.choice(_SLOW_S))
            self._refuse_the_dead(words)
            return call()
        if kind in (Kind.DIES_HALFWAY, Kind.HALF_DONE):
            self._half(words, call)
        elif kind in (Kind.DIES_AFTER, Kind.LEAVES_ORPHAN, Kind.LOST_ANSWER, Kind.DOUBLED):
            answer = self._done(words, call)
            if kind == Kind.DOUBLED and not words.startswith("volumes"):
                answer = self._done(words, call)
            if kind == Kind.DOUBLED:
                return answer
        if kind in DEATHS:
            process.die(words)
        raise _refusal(words)

    def _half(self, words: str, call: Callable[[], Any]) -> None:
        """A copy is half written; anything else is one effect, and not done."""
        if words.startswith("volumes write"):
            self.command.half = True
            try:
                self._done(words, call)
            except EngineError:
                pass
            finally:
                self.command.half = False


def half_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The first half of a tar, as far as it goes in whole members."""
    whole = b"".join(chunks)
    yield whole[: len(whole) // 2 // 512 * 512] + b"\0" * 1024
