"""A stack on the real engine: Moorage's own functions, without Prefect, which makes a test a second or less."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

import docker
import pytest

from moorage.errors import MoorageError
from moorage.interfaces import World
from moorage.model.event import Action, Event
from moorage.model.lease import Lease
from moorage.model.request import DownRequest, RestartRequest, StartRequest, StopRequest
from moorage.model.state import StackStatus
from moorage.model.step import Plan
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.definitions.resolve import resolve
from moorage.work.operations.down import down
from moorage.work.operations.restart import restart
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.up import up
from moorage.work.queries.plan import plan_up
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from moorage.work.runs.result import Result
from moorage.work.runs.run import Run
from moorage.world import open_world
from tests.conftest import run_in

E = TypeVar("E", bound=MoorageError)
ROOT = Path(__file__).resolve().parents[2]
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"


@pytest.fixture(scope="session", autouse=True)
def base_images(tiny_image: str) -> dict[str, str]:
    """TINY_IMAGE, PYTHON_IMAGE, POSTGRES_IMAGE, REDIS_IMAGE: for compose files, as variables of the environment."""
    said = subprocess.run(
        [ROOT / "scripts" / "base-images", "env"], capture_output=True, text=True, check=False, timeout=60
    )
    images = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line and not line.startswith("#"))
    images["TINY_IMAGE"] = tiny_image
    os.environ.update(images)
    return images


@dataclass
class Stack:
    """One directory with a compose file, what can be done with it, and a look at what is there."""

    path: Path
    name: str
    world: World
    client: docker.DockerClient
    events: list[Event]
    run: Run | None = None
    """The last run that succeeded. None: there was none."""
    options: dict[str, Any] = field(default_factory=dict)
    """For every request: files, profiles, env_files."""

    def compose(self, text: str) -> Stack:
        """Write compose.yaml; the text may be indented."""
        self.write("compose.yaml", text)
        return self

    def write(self, name: str, text: str) -> Path:
        """Write any file of the project; the text may be indented."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return file

    def request(self, **more: Any) -> UpRequest:
        """What `up` is asked for. `more`: fields of UpRequest, or files, profiles, env_files."""
        chosen = {"files": (), "profiles": (), "env_files": (), **self.options, **more}
        selected = [chosen.pop(key) for key in ("files", "profiles", "env_files")]
        paths = [
            [str(self.path / one) for one in selected[0]],
            selected[1],
            [str(self.path / one) for one in selected[2]],
        ]
        return UpRequest(source=source_of(self.path, *paths), **chosen)

    async def up(self, **more: Any) -> StackStatus:
        """Bring it up."""
        self.events.clear()
        return self._came_to(await up(Context(self.world), self.request(**more)))

    def _came_to(self, result: Result) -> StackStatus:
        self.run = result.run
        assert result.status is not None
        return result.status

    async def fails(self, kind: type[E], **more: Any) -> E:
        """Bring it up, which has to end with this very error, not one derived from it."""
        with pytest.raises(MoorageError) as caught:
            await self.up(**more)
        assert type(caught.value) is kind, f"{type(caught.value).__name__}: {caught.value} {caught.value.fields}"
        return caught.value

    async def plan(self, **more: Any) -> Plan:
        """What `up` would do."""
        return (await plan_up(self.world, resolve(self.world, self.request(**more)))).plan

    async def status(self) -> StackStatus:
        """How it is, every service asked."""
        return await status(self.world, self.name)

    async def down(self, **ending: Any) -> None:
        """Take it down."""
        await down(Context(self.world), DownRequest(stack=self.name, **ending))

    async def stop(self, *names: str, grace_s: float | None = None, force: bool = False) -> None:
        """Stop services."""
        await stop(
            Context(self.world), StopRequest(stack=self.name, services=tuple(names), timeout_s=grace_s, force=force)
        )

    async def start(self, *names: str) -> StackStatus:
        """Start services."""
        return self._came_to(await start(Context(self.world), StartRequest(stack=self.name, services=tuple(names))))

    async def restart(self, *names: str, **how: Any) -> StackStatus:
        """Restart services; `how`: recreate, timeout_s."""
        self.events.clear()
        request = RestartRequest(stack=self.name, services=tuple(names), **how)
        return self._came_to(await restart(Context(self.world), request))

    @property
    def leases(self) -> dict[str, Lease]:
        """Leases on record: `web 80/tcp` → lease."""
        return {f"{i.key.service} {i.key.target}/{i.key.protocol}": i for i in self.world.store.leases(self.name)}

    @property
    def ports(self) -> dict[str, int]:
        """Leased host ports: `web 80/tcp` → port."""
        return {key: lease.port for key, lease in self.leases.items()}

    def containers(self, service: str | None = None) -> list[Any]:
        """Containers by Compose's labels, as the Docker SDK sees them, by service and replica."""
        chosen = [f"{PROJECT_LABEL}={self.name}", *([f"{SERVICE_LABEL}={service}"] if service else [])]
        found = self.client.containers.list(all=True, ignore_removed=True, filters={"label": chosen})
        return sorted(found, key=lambda c: (c.labels[SERVICE_LABEL], int(c.labels[NUMBER_LABEL])))

    def container(self, service: str) -> Any:
        """The only container of a service."""
        (found,) = self.containers(service)
        return found

    def ids(self, *services: str) -> dict[str, str]:
        """Name → id of containers (of all services, if none is named)."""
        return {c.name: c.id for c in self.containers() if not services or c.labels[SERVICE_LABEL] in services}

    def sh(self, service: str, command: str) -> str:
        """What a shell command in the service's container writes; it has to succeed."""
        return run_in(self.container(service), "sh", "-c", command)

    def log(self, service: str) -> str:
        """What the service wrote."""
        return str(self.container(service).logs().decode())

    def steps(self, action: Action = Action.DONE) -> list[str]:
        """Steps of the last run in the order of their events."""
        return [event.step for event in self.events if event.action == action and event.step]

    def at(self, step: str, action: Action = Action.DONE) -> float:
        """When a step of the last run began or ended, in seconds of the Unix epoch."""
        return next(e.at.timestamp() for e in self.events if e.step == step and e.action == action)


@pytest.fixture
def settings(moorage_home: Path) -> Settings:
    """No grace and little patience: tests stop `sleep`, which takes no notice of SIGTERM."""
    return Settings(
        home=moorage_home, stop_grace_s=0, undo_grace_s=0, settle_s=0.2, ready_timeout_s=60, lock_timeout_s=60
    )


@pytest.fixture
def events() -> list[Event]:
    """All that the test's runs told."""
    return []


@pytest.fixture
def world(settings: Settings, events: list[Event]) -> Iterator[World]:
    """The real world, with a home of its own."""
    opened = open_world(events.append, settings)
    yield opened
    opened.store.close()
    opened.engine.client.close()  # else all tests of a process together need more than 1024 files


@pytest.fixture
def stack(
    tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient, world: World, events: list[Event]
) -> Callable[..., Stack]:
    """Makes a stack of a compose file. `more` is put behind the directory's name, for several in one test."""

    def make(text: str, more: str = "", **options: Any) -> Stack:
        path = tmp_path / f"{stack_prefix}{more}"
        path.mkdir()
        return Stack(path, path.name, world, docker_client, events, options=options).compose(text)

    return make


@pytest.fixture
def free_ports() -> Callable[..., int]:
    """Gives the first of so many consecutive host ports that nothing has."""

    def find(count: int = 1) -> int:
        while True:
            first = random.randrange(10_100, 19_000)
            if all(_free(port) for port in range(first, first + count + 3)):
                return first

    return find


def _free(port: int) -> bool:
    for family, address, kind in (
        (socket.AF_INET, "0.0.0.0", socket.SOCK_STREAM),
        (socket.AF_INET6, "::", socket.SOCK_STREAM),
        (socket.AF_INET, "0.0.0.0", socket.SOCK_DGRAM),
    ):
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


@pytest.fixture
def listen() -> Iterator[Callable[..., socket.socket]]:
    """Opens a real listener of this process; all are closed at the end."""
    opened: list[socket.socket] = []

    def begin(port: int, address: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, kind)
        opened.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        return listener

    yield begin
    for listener in opened:
        listener.close()


@pytest.fixture
def docker_compose() -> str:
    """The Compose CLI, to do by hand what Moorage does with it."""
    beside = Path(sys.executable).with_name("docker-compose")
    found = str(beside) if beside.is_file() else shutil.which("docker-compose")
    assert found, "no Compose CLI: `make setup` installs one"
    return found


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python whose environment has all that pip would have to fetch, but no Moorage of its own."""
    place = tmp_path_factory.mktemp("python")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(place)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(place), "platbase": str(place)}))
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    compose = Path(sys.executable).with_name("docker-compose")
    if compose.exists():
        (place / "bin" / compose.name).symlink_to(compose)
    return place / "bin" / "python"
