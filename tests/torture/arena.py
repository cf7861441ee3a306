"""Where the torture takes place: an engine, a home, stacks, somebody else's things beside them, `moorage` commands.

With an engine of its own (for root) all of it lives in namespaces of its own: network, mounts, processes. Whatever
happens in there, nothing of it is left when the first process of it ends, and nothing outside is touched. The home and
the engine's data are small disks, so that they can be full.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker

from moorage.adapters.registry.store import SqliteStore
from tests import leftovers
from tests.commands import CommandServer
from tests.faults.own_engine import OwnEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME_BYTES, ENGINE_BYTES = 512 << 20, 512 << 20
COMMAND_S = 240
"""Longest time for one command; one that takes longer hangs."""
CGI = '#!/bin/sh\\necho Content-type: text/plain; echo; echo "$$STACK $$VERSION $$(cat /data/value 2>/dev/null)"\\n'
COMPOSE = """
services:
  db:
    image: {image}
    init: true
    command:
      - sh
      - -c
      - |
        mkdir -p /www/cgi-bin && printf '{cgi}' > /www/cgi-bin/all && chmod +x /www/cgi-bin/all
        exec httpd -f -p 80 -h /www
    stop_grace_period: 0s
    environment: {{VERSION: "{version}", STACK: {stack}}}
    volumes: ["data:/data"]
    ports: ["{port}:80"]
    healthcheck: {{test: [CMD, wget, -qO-, "http://127.0.0.1/cgi-bin/all"], interval: 2s, timeout: 20s, retries: 30}}
  worker:
    build: {{context: ., dockerfile: Dockerfile}}
    command: [sleep, infinity]
    init: true
    stop_grace_period: 0s
    depends_on: {{db: {{condition: service_healthy}}}}
volumes: {{data: {{}}}}
"""


@dataclass
class Arena:
    """One place. `stacks` are names of directories in it."""

    place: Path
    stacks: tuple[str, ...]
    image: str
    port: int
    """The host port that every stack wants: one of them gets it."""
    engine: OwnEngine | None = None
    """None: the machine's, which is not to be disturbed; then there is no worker either."""
    environment: dict[str, str] = field(default_factory=dict)
    alive: dict[int, str] = field(default_factory=dict)
    """Pids of the commands that run now, with what they are."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def home(self) -> Path:
        """$MOORAGE_HOME."""
        return self.place / "home"

    def open(self) -> None:
        """Make the disks, start the engine and the hub, write the projects."""
        self.place.mkdir(parents=True, exist_ok=True)
        self.home.mkdir()
        if self.engine:
            self.engine.place.mkdir()
            _disk(self.home, HOME_BYTES)
            _disk(self.engine.place, ENGINE_BYTES)
            self.engine.start()
            with closing(self.client()) as client:
                client.images.load((self.place / "image.tar").read_bytes())
        self.commands = CommandServer(self.place / "commands")
        for stack in self.stacks:
            (self.place / stack).mkdir()
            (self.place / stack / "Dockerfile").write_text(f"FROM {self.image}\nRUN echo {stack} > /made\n")
            self.define(stack, 0)
        if self.engine:
            self.must("hub", "start")

    def close(self) -> None:
        """End all that runs; the files stay for whoever wants to know what happened."""
        # Without one of `open`, the first run has started a server.
        self.run(self.stacks[0], "hub", "stop", "--timeout", "5")
        self.commands.stop()
        if self.engine:
            shutil.copyfile(self.engine.place / "log", self.place / "engine.log")
            for kept in (*(self.home / "hub").glob("*.log*"), *self.home.glob("hub.db*")):
                shutil.copyfile(kept, self.place / kept.name)
            shutil.copytree(self.home / "generations", self.place / "generations", dirs_exist_ok=True)
            with closing(self.client()) as client:
                for stack in self.stacks:
                    leftovers.remove(client, stack)
            self.engine.stop(signal.SIGTERM)

    def define(self, stack: str, version: int) -> str:
        """Write the compose file of this version; gives its name."""
        name = f"v{version}.yaml" if version else "compose.yaml"
        text = COMPOSE.format(image=self.image, cgi=CGI, version=version, stack=stack, port=self.port)
        (self.place / stack / name).write_text(text)
        return name

    def versions(self, stack: str) -> list[int]:
        """Those that were written so far."""
        return sorted({0, *(int(one.stem[1:]) for one in (self.place / stack).glob("v*.yaml"))})

    def run(self, stack: str, *arguments: str, **more: str) -> tuple[int, str, str]:
        """`moorage ARGUMENTS` in the stack's directory: exit code (negative: killed by that signal), what it said.

        `more` is added to its environment.

        Raises subprocess.TimeoutExpired for one that hangs.
        """
        mine: list[int] = []

        def began(pid: int) -> None:
            mine.append(pid)
            with self._guard:
                self.alive[pid] = f"{stack} {' '.join(arguments[:2])}"

        try:
            return self.commands.run(arguments, self.place / stack, self.environment | more, COMMAND_S, began)
        finally:
            with self._guard:
                for pid in mine:
                    self.alive.pop(pid, None)

    def must(self, *arguments: str) -> str:
        """The same, and it has to succeed; gives stdout."""
        code, out, err = self.run(self.stacks[0], *arguments)
        assert code == 0, f"moorage {' '.join(arguments)}: exit {code}\n{out}\n{err}"
        return out

    def kill(self, pid: int, number: signal.Signals) -> None:
        """A signal to a command that is still of ours: its pid is not given up while it is in `alive`."""
        with self._guard, suppress(ProcessLookupError):
            if pid in self.alive:
                os.kill(pid, number)

    def client(self) -> docker.DockerClient:
        """Other eyes than Moorage's."""
        return self.engine.client() if self.engine else docker.from_env(timeout=60)

    @contextmanager
    def store(self) -> Iterator[SqliteStore]:
        """The registry, to look at."""
        with closing(SqliteStore(self.home / "hub.db")) as store:
            yield store


@dataclass
class Bystander:
    """Somebody else's container, network and volume, with names that begin like the first stack's."""

    arena: Arena
    before: dict[str, Any] = field(default_factory=dict)

    def create(self) -> None:
        """Make them with the engine's own means, and remember how they are."""
        name = f"{self.arena.stacks[0]}-bystander"
        with closing(self.arena.client()) as client:
            client.volumes.create(name)
            network = client.networks.create(name)
            container = client.containers.create(
                self.arena.image,
                ["sh", "-c", "echo mine > /kept/value; sleep infinity"],
                name=name,
                network=network.name,
                volumes={name: {"bind": "/kept"}},
                init=True,
            )
            container.start()
            container.exec_run(["sh", "-c", "until test -s /kept/value; do sleep 0.1; done"])
        self.before = self.now()

    def now(self) -> dict[str, Any]:
        """All that does not change when an engine restarts: ids, configuration, and what is in the volume."""
        name = f"{self.arena.stacks[0]}-bystander"
        with closing(self.arena.client()) as client:
            raw = client.api.inspect_container(name)
            archive, _ = client.containers.get(name).get_archive("/kept/value")
            return {
                "container": {key: raw[key] for key in ("Id", "Created", "Config", "Mounts", "Image")},
                "network": client.api.inspect_network(name)["Id"],
                "volume": client.api.inspect_volume(name)["CreatedAt"],
                "value": b"mine" in b"".join(archive),
            }

    def remove(self) -> None:
        """They go."""
        name = f"{self.arena.stacks[0]}-bystander"
        with closing(self.arena.client()) as client:
            client.api.remove_container(name, force=True)
            client.api.remove_network(name)
            client.api.remove_volume(name)


def _disk(place: Path, size_bytes: int) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)], check=True)
