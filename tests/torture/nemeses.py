"""What goes wrong meanwhile: each nemesis does its harm, and heals it before the next one comes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from moorage.hub.hub_home import HubHome
from tests.torture.history import Operation, Outcome

if TYPE_CHECKING:
    import threading

    from tests.torture.verbs import Verbs

WEIGHTS = {
    "kill a verb": 14, "stop a verb for a while": 4, "kill the server": 2, "kill the worker": 2,
    "stop the server for a while": 1, "kill the engine": 1, "end the engine": 1, "stop the engine for a while": 1,
    "fill the home": 2, "fill the engine's disk": 2,
}  # fmt: skip
WITHOUT_OWN_ENGINE = {"kill a verb": 3, "stop a verb for a while": 1}


@dataclass
class Nemeses:
    """Those of one arena, and how often each has come."""

    verbs: Verbs
    rng: random.Random
    over: threading.Event
    came: Counter[str] = field(default_factory=Counter)

    def go_on(self) -> None:
        """One after the other, with a pause between, until it is over."""
        weights = WEIGHTS if self.verbs.arena.engine else WITHOUT_OWN_ENGINE
        while not self.over.wait(self.rng.uniform(0.3, 3.0)):
            name = self.rng.choices([*weights], [*weights.values()])[0]
            if self._do(name):
                self.came[name] += 1

    def _do(self, name: str) -> bool:
        """False: there was nobody to do it to."""
        self.verbs.recorder.note(name)
        what, _, who = name.partition(" ")
        if who.startswith("a verb"):
            return self._verb(what == "kill")
        if "engine's disk" in who or "home" in who:
            return self._fill("engine" in who)
        if "engine" in who:
            return self._engine({"kill": signal.SIGKILL, "end": signal.SIGTERM, "stop": signal.SIGSTOP}[what])
        return self._hub("server" in who, signal.SIGKILL if what == "kill" else signal.SIGSTOP)

    def _verb(self, kill: bool) -> bool:
        arena = self.verbs.arena
        alive = sorted(arena.alive)
        if not alive:
            return False
        pid = self.rng.choice(alive)
        self.verbs.recorder.note("victim", pid=pid, command=arena.alive.get(pid))
        if kill:
            arena.kill(pid, signal.SIGKILL)
            return True
        arena.kill(pid, signal.SIGSTOP)
        self._while()
        arena.kill(pid, signal.SIGCONT)
        return True

    def _while(self) -> None:
        time.sleep(self.rng.uniform(0.5, 4.0))

    def _hub(self, server: bool, number: signal.Signals) -> bool:
        home = HubHome(self.verbs.arena.home / "hub")
        record = home.server() if server else home.worker()
        if record is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(record.process.pid, number)
            self._while()
            if number == signal.SIGSTOP:
                os.kill(record.process.pid, signal.SIGCONT)
                return True
        if number == signal.SIGKILL:
            self.verbs.arena.run(self.verbs.arena.stacks[0], "hub", "start")
        return True

    def _engine(self, number: signal.Signals) -> bool:
        """With the engine all containers end: that is an operation of each stack's history."""
        engine = self.verbs.arena.engine
        assert engine
        if number == signal.SIGSTOP:
            engine.send(signal.SIGSTOP)
            self._while()
            engine.send(signal.SIGCONT)
            return True
        recorder = self.verbs.recorder
        many = [recorder.begin(Operation("nemesis", "engine", stack)) for stack in self.verbs.arena.stacks]
        engine.stop(number)
        self._while()
        engine.start()
        for operation in many:
            operation.outcome = Outcome.OK
            recorder.end(operation)
        return True

    def _fill(self, of_engine: bool) -> bool:
        arena = self.verbs.arena
        assert arena.engine
        filler = (arena.engine.place if of_engine else arena.home) / "filler"
        _fill(filler)
        self._while()
        filler.unlink()
        return True


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
