"""Stacks that wait as long as a test wants them to, runs that are interrupted meanwhile, and a look for leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorage.hub import api
from moorage.rules import labels
from moorage.settings import Settings
from moorage.world import open_world
from tests.orchestrated.conftest import ENDED, OwnHub, address_in, create_run, state_of, wait_for

if TYPE_CHECKING:
    import docker

    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

PATIENCE_S = 240.0
"""For whatever has to happen; none of it is measured."""
GATE = """
    services:
      db: {{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s, volumes: ["data:/data"], ports: ["81"],
            x-moorage: {{ready: {{exec: "true"}}}}}}
      web:
        image: "{image}"
        command: {command}
        stop_grace_period: {grace}
        depends_on: [db]
        volumes: ["./gate:/gate"]
        healthcheck: {{test: [CMD, test, -f, /gate/open], interval: 60s}}
    volumes: {{data: {{}}}}
"""
DEAF = '[sh, -c, "trap true TERM; while true; do sleep 1; done"]'


@dataclass
class Scene:
    """One project on a hub of its own module."""

    project: Project
    hub: OwnHub
    client: docker.DockerClient
    machine: MachineState
    image: str
    going: list[subprocess.Popen[str]] = field(default_factory=list)

    def gated(self, command: str = "[sleep, infinity]", grace: str = "0s") -> Scene:
        """A definition whose `web` becomes ready when `open` is called."""
        (self.project.path / "gate").mkdir(exist_ok=True)
        self.project.compose(GATE.format(image=self.image, command=command, grace=grace))
        return self

    def open(self) -> None:
        """Let `web` become ready."""
        (self.project.path / "gate" / "open").touch()

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """A command that goes on; ended with the test."""
        self.going.append(self.project.start(*args, **options))
        return self.going[-1]

    def end(self) -> None:
        """End what is still going."""
        for one in self.going:
            if one.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
                one.communicate()

    def waits(self, service: str = "web") -> None:
        """Wait until a run has started the service, and so waits for it to become ready."""
        name = f"{self.project.name}-{service}-1"
        wait_for(lambda: self.containers().get(name) == "running", PATIENCE_S)

    def containers(self) -> dict[str, str]:
        """Name → state."""
        found = self.client.api.containers(all=True, filters={"label": f"{labels.COMPOSE_PROJECT}={self.project.name}"})
        return {one["Names"][0].removeprefix("/"): one["State"] for one in found}

    # --- the Prefect side ---

    @cached_property
    def address(self) -> HubAddress:
        """Where the hub answers; asked once, because a busy server may leave a question unanswered."""
        return address_in(self.hub.status())

    def triggered(self, **parameters: Any) -> str:
        """A run of `up` by the worker; gives its id."""
        return create_run(self.address, "up", path=str(self.project.path), **parameters)

    def own_run(self) -> str:
        """The flow run that the command has begun."""
        wanted = {"flow_runs": {"name": {"any_": [f"up {self.project.name}"]}}, "sort": "START_TIME_DESC"}
        return str(api.call(self.address, "POST", "/flow_runs/filter", wanted)[0]["id"])

    def cancel(self, flow_run: str) -> None:
        """What the button *Cancel* of the UI does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        api.call(self.address, "POST", f"/flow_runs/{flow_run}/set_state", {"state": state, "force": False})

    def ends(self, flow_run: str) -> str:
        """Wait until the run has ended; gives the type of its state."""
        address = self.address
        wait_for(lambda: state_of(address, flow_run)["type"] in ENDED, PATIENCE_S)
        return str(state_of(address, flow_run)["type"])

    # --- what is left ---

    def assert_nothing_left(self) -> None:
        """No container, network, volume, image tag, lease, generation, open run or held lock of the stack."""
        world = open_world(lambda _event: None, Settings(home=self.hub.home))
        name = self.project.name
        self.machine.assert_same()
        assert world.store.unfinished_runs(name) == ()
        assert world.store.leases(name) == ()
        assert world.store.stack(name) is None
        assert world.store.generations(name) == ()
        assert world.engine.tags(labels.pin_prefix(name)) == ()
        assert tuple(world.files.names(f"generations/{name}")) == ()
        assert world.lock(name).held() is None
        world.store.close()

    def sweep(self) -> None:
        """`moorage sweep`, which has to find nothing of the stack that it cannot clear away.

        Of the stacks of other tests in the same home it may: theirs are attached to, or busy.
        """
        found = self.project.moorage("sweep", "--json", exit_code=None)
        assert found.returncode in (0, 6), found
        assert not [one for one in found.json if one["stack"] in ("", self.project.name) and one["error"]], found


def flow_processes(flow_run: str) -> list[int]:
    """The processes that run a flow run for the worker."""
    mark = f"PREFECT__FLOW_RUN_ID={flow_run}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def ended(process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> tuple[int, str]:
    """Its exit code, and what it wrote for people."""
    _, said = process.communicate(timeout=timeout_s)
    return process.returncode, said


def line_of(process: subprocess.Popen[str], words: str) -> str:
    """Read its stderr up to the line with these words."""
    assert process.stderr
    seen, deadline = [], time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        seen.append(line)
        if words in line:
            return line
        assert line, f"it ended without {words!r}: {''.join(seen)}"
    raise AssertionError("".join(seen))
