"""One machine with its registry, two stacks and strangers: what the processes of a history share."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from moorage.interfaces import World
from moorage.model.step import Operation
from moorage.rules import labels
from moorage.settings import Settings
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryLocks, MemoryStore, fake_world
from moorage.work.queries import readiness
from moorage.work.runs import steps, wait
from moorage.work.volumes import archive
from tests.properties.memory import SLEEP, plant_strangers
from tests.properties.simulator import scheduler
from tests.properties.simulator.commands import Command, archive_path
from tests.properties.simulator.judge import Judge
from tests.properties.simulator.scheduler import Process, Scheduler

if TYPE_CHECKING:
    from moorage.testing.machine import Box

STACKS = ("shop", "cart")
PORTS = (8000, 8001, 9000)


class Stage:
    """All that outlives a process."""

    def __init__(self, random: Random, restless: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="moorage-simulated-"))
        self.clock = ManualClock()
        self.random = random
        self.machine = FakeMachine(self.clock)
        self.machine.mutex = nullcontext()  # type: ignore[assignment] # one thread runs at a time, and gives way in the midst
        self.store = MemoryStore()
        self.files = MemoryFiles(self.folder / "home")
        self._settings = Settings(settle_s=0, lock_timeout_s=30, home=self.files.root, keep_generations=2)
        self.scheduler = Scheduler(self.clock, random, restless)
        self.locks = MemoryLocks(self.clock, self._pause)
        self.engine_back_s = 0.0
        self.effects = 0
        self.faults: Counter[str] = Counter()
        self.trace: list[str] = []
        self.commands: list[Command] = []
        self._written = 0
        for stack in STACKS:
            self.folder_of(stack).mkdir()
            (self.folder / "home" / "snapshots" / stack).mkdir(parents=True)
        self._furnish()
        self.judge = Judge(self)

    def _furnish(self) -> None:
        self.machine.add_image("app:1", SLEEP)
        self.machine.add_image("app:2", SLEEP, volumes=["/cache"])
        self.machine.add_image("far:1", SLEEP, pulled=False)
        self.machine.add_image("fails:1", ["sh", "-c", "echo no; exit 3"])
        self.machine.add_image("ends:1", ["true"])
        plain = fake_world(self.machine, self.store, self.files, settings=self._settings)
        plant_strangers(self.machine, self.store, plain, self.folder)

    @property
    def engine_is_away(self) -> bool:
        """It answers nobody."""
        return self.clock.monotonic() < self.engine_back_s

    def keep_generations(self, number: int) -> None:
        """From now on, for every process."""
        self._settings = self._settings.model_copy(update={"keep_generations": number})

    def close(self) -> None:
        """Nothing of it stays."""
        self.scheduler.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _pause(self, seconds: float) -> None:
        process = scheduler.current()
        assert process is not None
        process.sleep(seconds)

    # --- what commands work on

    def folder_of(self, stack: str) -> Path:
        return self.folder / stack

    def archive_of(self, stack: str) -> Path:
        return archive_path(self.folder, stack)

    def written(self, stack: str, services: dict[str, Any]) -> Path:
        """A compose file of its own for each command, so that two do not write the same."""
        self._written += 1
        mounts = {m.split(":")[0] for s in services.values() for m in s.get("volumes") or () if ":" in m}
        text = {"name": stack, "services": services, "volumes": dict.fromkeys(sorted(mounts))}
        file = self.folder_of(stack) / f"compose-{self._written}.yaml"
        file.write_text(json.dumps(text))
        return file

    def world(self) -> World:
        """What a new process sees."""
        return fake_world(self.machine, self.store, self.files, settings=self._settings)

    def end_strays(self, stack: str) -> None:
        """End what goes on of the dead."""
        for command in self.commands:
            if command.stack == stack and command.process.orphan:
                command.process.orphan = False
                command.process.over = True

    def process_of(self, command: Command) -> Process:
        """A process for a command."""
        self.commands.append(command)
        command.process = Process(
            self.scheduler,
            command.name,
            command.act,
            on_end=lambda _process, error: self._ended(command, error),
            on_death=self.locks.end,
        )
        return command.process

    def _ended(self, command: Command, error: BaseException | None) -> None:
        command.error, command.ended = error, True
        self.locks.end(command.process)
        self.judge.ended(command)

    # --- what strangers do

    def strange(self, what: str, stack: str) -> None:
        """Change the machine behind Moorage's back."""
        boxes = self._own_boxes(stack)
        match what:
            case "write" | "write at rest" | "damage generation" | "damage copy":
                self._write(what, stack)
            case "take port" | "hide port":
                port = (self.random.choice(PORTS), "tcp")
                held = self.machine.busy_ports if what == "take port" else self.machine.hidden_ports
                if port not in self.machine.published():
                    held.add(port)
                    self.judge.disturbed(*STACKS)
            case "free ports":
                self.machine.busy_ports.clear()
                self.machine.hidden_ports.clear()
            case "end" if running := [box for box in boxes if box.running]:
                self.machine.end(self.random.choice(running), 137)
                self.judge.disturbed(stack)
            case "remove" if boxes:
                self.machine.drop(self.random.choice(boxes), volumes=False)
                self.judge.disturbed(stack)
            case "expire" if record := self.store.stack(stack):
                if record.expires_at:
                    self.clock.advance(max(0.0, (record.expires_at - self.clock.now()).total_seconds()))
        self.judge.accept(stack)

    def _write(self, what: str, stack: str) -> None:
        """Into volumes, or over what Moorage has written."""
        boxes, copies, record = self._own_boxes(stack), self.copies(stack), self.store.stack(stack)
        if what.startswith("write"):
            for box in boxes:
                for path in box.mounts if box.running or (copies and what == "write at rest") else ():
                    self.machine.put(box, f"{path}/kept", f"written {self.effects}")
        elif what == "damage copy":
            for copy in copies:
                copy.write_text("damaged")
            self.judge.damaged(stack)
        elif record:
            self.files.write(f"generations/{stack}/{record.generation}.json", "{")
            self.judge.damaged(stack)

    def copies(self, stack: str) -> list[Path]:
        """Those that open restores have taken of what was in a volume."""
        facts = [run.arguments for run in self.store.unfinished_runs(stack) if run.operation == Operation.RESTORE]
        return [file for one in facts if (file := Path(one["safety"])).exists()]

    def _own_boxes(self, stack: str) -> list[Box]:
        return [box for box in self.machine.of_project(stack) if labels.HOLDER not in box.labels]


@contextmanager
def simulated() -> Iterator[None]:
    """What knows threads or the disk directly goes through the processes of a simulation."""

    async def at_once(function: Any, _timeout_s: float) -> Any:
        return function()

    def through(name: str) -> Any:
        real = getattr(archive, name)

        def call(*args: Any, **options: Any) -> Any:
            process = scheduler.current()
            if process is None:
                return real(*args, **options)
            command = process.act.__self__  # type: ignore[attr-defined]
            return command.calls.call(f"disk {name.lstrip('_')}", lambda: real(*args, **options))

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module in (wait, readiness, steps):
            patch.setattr(module, "in_thread_with_timeout", at_once)
        for name in ("discard", "_put_in_place", "_write_checksum"):
            patch.setattr(archive, name, through(name))
        yield
