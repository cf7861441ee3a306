"""A whole world that is not there: for tests of what is done with one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from moorage.errors import BusyError
from moorage.interfaces import Clock, Line, World
from moorage.model.definition import Config
from moorage.model.event import Event
from moorage.model.image import Survey
from moorage.settings import Settings
from moorage.testing.builder import FakeBuilder
from moorage.testing.compose import FakeCompose
from moorage.testing.engine import FakeEngine
from moorage.testing.files import MemoryFiles
from moorage.testing.machine import FakeMachine
from moorage.testing.store import MemoryStore
from moorage.testing.streams import FakeStreams
from moorage.testing.volumes import FakeVolumes


class FakeProber:
    """Looks at the ports of a machine in memory; implements `interfaces.Prober`."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def tcp(self, host: str, port: int, timeout_s: float) -> str | None:
        """None: a running container publishes the port, or listens at its own address."""
        with self.machine.mutex:
            inside = any(box.running for box in self.machine.boxes.values()) and host.startswith("192.0.2.")
            return None if inside or (port, "tcp") in self.machine.published() else "connection refused"

    def http(self, url: str, timeout_s: float, status: int | None) -> str | None:
        """The same by the URL's address."""
        host, _, port = url.split("/")[2].rpartition(":")
        return self.tcp(host, int(port), timeout_s)

    def holder_of(self, port: int, protocol: str) -> str | None:
        """Some name for other programs. None: none has it."""
        held = self.machine.busy_ports | self.machine.hidden_ports
        return "stranger (pid 1)" if (port, protocol) in held else None

    def bindable(self, port: int, protocol: str, host_ip: str) -> bool:
        """True: neither another program (that can be seen) nor a running container has the port."""
        with self.machine.mutex:
            return (port, protocol) not in self.machine.busy_ports | self.machine.published()


class MemoryLocks:
    """Locks by stack; `MemoryLocks(clock)` is what `World.lock` asks for. All of them are of this process."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now
        self._locks: dict[str, _Lock] = {}

    def __call__(self, stack: str) -> MemoryLock:
        """A handle on the lock of one stack."""
        return MemoryLock(stack, self._locks.setdefault(stack, _Lock()), self._now)


class _Lock:
    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.holder: dict[str, object] | None = None


class MemoryLock:
    """The lock of one stack in memory; implements `interfaces.Lock`."""

    def __init__(self, stack: str, lock: _Lock, now: Callable[[], datetime]) -> None:
        self._stack = stack
        self._lock = lock
        self._now = now
        self._mine = False

    def acquire(self, operation: str, timeout_s: float, on_wait: Line | None = None) -> MemoryLock:
        """Take it. Raises BusyError."""
        if not self._lock.mutex.acquire(timeout=timeout_s):
            held = self._lock.holder or {}
            raise BusyError(f"stack {self._stack}: {held.get('operation')} is under way", stack=self._stack)
        self._lock.holder = {"operation": operation, "pid": 1, "since": self._now()}
        self._mine = True
        return self

    def release(self) -> None:
        """Give it back; no error if it is not held."""
        if self._mine:
            self._mine, self._lock.holder = False, None
            self._lock.mutex.release()

    def held(self) -> Mapping[str, object] | None:
        """Who holds it. None: nobody."""
        return self._lock.holder


class MemoryContexts:
    """Build contexts that are not read; implements `interfaces.Contexts`: only the section itself counts."""

    def digest(self, build: Config) -> str:
        """Digest of a `build` section."""
        return sha256(json.dumps(build, sort_keys=True).encode()).hexdigest()[:16]

    def survey(self, context: Path) -> Survey | None:
        """None: contexts that are not read have no project without a Dockerfile in them."""
        return None


def nowhere(_directory: Path) -> tuple[str | None, str | None, bool]:
    """`World.place` outside of git."""
    return None, None, False


def fake_world(
    machine: FakeMachine,
    store: MemoryStore,
    files: MemoryFiles,
    *,
    settings: Settings | None = None,
    emit: Callable[[Event], None] = lambda _event: None,
) -> World:
    """A world on a machine in memory. `settings` None: nothing has to settle, and locks are not waited for."""
    return World(
        engine=FakeEngine(machine),
        streams=FakeStreams(machine),
        volumes=FakeVolumes(machine),
        compose=FakeCompose(machine, files),
        contexts=MemoryContexts(),
        store=store,
        files=files,
        prober=FakeProber(machine),
        clock=machine.clock,
        settings=settings or Settings(settle_s=0, lock_timeout_s=0, home=files.root),
        home="memory",
        lock=MemoryLocks(machine.clock),
        place=nowhere,
        builder=lambda world, _name: FakeBuilder(world.compose, world.engine),
        emit=emit,
    )
