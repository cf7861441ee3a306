"""A world of fakes, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path

from moorage.interfaces import Contexts, Prober, World
from moorage.model.definition import Config
from moorage.model.event import Event
from moorage.model.image import Survey
from moorage.settings import Settings
from moorage.testing.builder import FakeBuilder
from moorage.testing.compose import FakeCompose
from moorage.testing.engine import FakeEngine
from moorage.testing.files import MemoryFiles
from moorage.testing.locks import MemoryLocks
from moorage.testing.machine import FakeMachine
from moorage.testing.store import MemoryStore
from moorage.testing.streams import FakeStreams
from moorage.testing.volumes import FakeVolumes


class FakeProber(Prober):
    """Checks the ports of a machine in memory."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def tcp(self, host: str, port: int, timeout_s: float) -> str | None:
        """None: a running container publishes the port, or listens on its own address."""
        with self.machine.mutex:
            inside = any(box.running for box in self.machine.boxes.values()) and host.startswith("192.0.2.")
            return None if inside or (port, "tcp") in self.machine.published() else "connection refused"

    def http(self, url: str, timeout_s: float, status: int | None) -> str | None:
        """Like `tcp`, with the URL's address."""
        host, _, port = url.split("/")[2].rpartition(":")
        return self.tcp(host, int(port), timeout_s)

    def holder_of(self, port: int, protocol: str) -> str | None:
        """A made-up name for the other programs of the machine."""
        held = self.machine.busy_ports | self.machine.hidden_ports
        return "stranger (pid 1)" if (port, protocol) in held else None

    def hold(self, ports: Collection[tuple[int, str, str]]) -> Callable[[], None]:
        """Nobody else gets them: to the machine they are as if another program had them."""
        mine = {(port, protocol) for port, protocol, _ in ports} - self.machine.hidden_ports
        self.machine.hidden_ports |= mine

        def release() -> None:
            self.machine.hidden_ports -= mine

        return release

    def routes(self) -> Collection[str]:
        """Those of the machine."""
        return self.machine.routes

    def bindable(self, port: int, protocol: str, host_ip: str) -> bool:
        """True if neither a (visible) other program nor a running container has the port."""
        with self.machine.mutex:
            return (port, protocol) not in self.machine.busy_ports | self.machine.published()


class MemoryContexts(Contexts):
    """Build contexts that are never read: only the `build` section and its Dockerfile count."""

    def digest(self, build: Config) -> str:
        """Digest of the `build` section and the Dockerfile only."""
        return sha256((json.dumps(build, sort_keys=True) + self.dockerfile(build)).encode()).hexdigest()[:16]

    def dockerfile(self, build: Config) -> str:
        """Empty: it is not there."""
        file = Path(str(build.get("context", "."))) / str(build.get("dockerfile") or "Dockerfile")
        return str(build["dockerfile_inline"]) if "dockerfile_inline" in build else text_of(file)[0]

    def survey(self, context: Path) -> Survey | None:
        """None: no context is ever read."""
        return None


def nowhere(_directory: Path) -> tuple[str | None, str | None, bool]:
    """A `World.place` outside git."""
    return None, None, False


def text_of(path: Path) -> tuple[str, str]:
    """A `World.text_of`: a project's files are on disk, as for the fake Compose."""
    try:
        return path.read_text(errors="replace"), ""
    except OSError as error:
        return "", error.strerror or str(error)


def fake_world(
    machine: FakeMachine,
    store: MemoryStore,
    files: MemoryFiles,
    *,
    settings: Settings | None = None,
    emit: Callable[[Event], None] = lambda _event: None,
) -> World:
    """A world on a machine in memory. `settings` None: no settling time, and no waiting for locks."""
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
        text_of=text_of,
        builder=lambda world, _name: FakeBuilder(world.compose, world.engine),
        emit=emit,
    )
