"""The stage of the fault tests: one stack on the real engine, what is there of it, and children that meet faults."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moorage.model.request import SweepRequest
from moorage.rules import labels
from moorage.work.definitions import generations
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context
from tests.faults import driver
from tests.faults.driver import Deed, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import docker

    from moorage.interfaces import World

CHILD_TIMEOUT_S = 180
State = dict[str, Any]


def _children() -> Any:
    """A process that has imported all, and forks a child for each case: no case pays for imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.driver"])
    return context


@dataclass
class Stage:
    """One directory, one home, one engine."""

    directory: Path
    home: Path
    client: docker.DockerClient
    world: World
    children: Any = field(default_factory=_children)
    rows: Callable[[], Any] = lambda: None
    """The data that the stack holds, for its state. None: it holds none that is looked at."""

    @property
    def name(self) -> str:
        """The stack's."""
        return self.directory.name

    def define(self, **services: dict[str, Any]) -> None:
        """Write the compose file."""
        volumes = {m.split(":")[0]: {} for s in services.values() for m in s.get("volumes", ()) if ":" in m}
        text = json.dumps({"services": services, "volumes": volumes})
        (self.directory / "compose.yaml").write_text(text)

    def deed(self, operation: str, **more: Any) -> Deed:
        """An operation on this stack."""
        return Deed(operation, self.directory, self.home, **more)

    def do(self, operation: str, **more: Any) -> None:
        """Do it here, without a fault."""
        asyncio.run(driver.do(self.world, self.deed(operation, **more)))

    def fails(self, operation: str, fault: Fault | None, **more: Any) -> int:
        """Do it in a child process that meets the fault; gives its exit code."""
        child = self.begin(operation, fault, **more)
        child.join(CHILD_TIMEOUT_S)
        code = child.exitcode
        child.close()
        assert code is not None, f"{operation} with {fault} takes more than {CHILD_TIMEOUT_S} s"
        return int(code)

    def begin(self, operation: str, fault: Fault | None = None, **more: Any) -> Any:
        """The same, not waited for."""
        child = self.children.Process(target=driver.main, args=(self.deed(operation, **more), fault))
        child.start()
        return child

    def sweep(self) -> None:
        """One sweep, as `moorage sweep` does it."""
        found = asyncio.run(sweep(Context(self.world), SweepRequest()))
        assert not [one for one in found if one.error], found

    def state(self) -> State:
        """All that belongs to the stack."""
        store, observed = self.world.store, self.world.engine.observe(self.name)
        record = store.stack(self.name)
        return {
            "containers": {c.name: self._container(c.id) for c in observed.containers},
            "networks": sorted(observed.networks),
            "volumes": {name: self._born(name) for name in observed.volumes if name.startswith(self.name)},
            "tags": sorted(self.world.engine.tags(labels.pin_prefix(self.name))),
            "leases": sorted((str(i.key), i.port, i.wanted, i.run) for i in store.leases(self.name)),
            "generation": record.generation if record else None,
            "generations": [(one.number, one.outcome) for one in store.generations(self.name)],
            "files": sorted(self.world.files.names(f"generations/{self.name}")),
            "rows": self.rows(),
            "unfinished": [run.id for run in store.unfinished_runs(self.name)],
        }

    def current(self) -> int:
        """Number of the current generation."""
        found = generations.current(self.world, self.name)
        assert found
        return found.number

    def _born(self, volume: str) -> str:
        """When it was made. Docker takes the time of its top directory, which a database that starts in it changes."""
        return "kept" if self.rows() is not None else str(self.client.volumes.get(volume).attrs["CreatedAt"])

    def _container(self, container: str) -> State:
        raw = self.client.api.inspect_container(container)
        return {
            "state": raw["State"]["Status"],
            "image": raw["Config"]["Image"],
            "digest": raw["Config"]["Labels"][labels.DIGEST],
            "ports": raw["HostConfig"]["PortBindings"],
            "mounts": {m["Destination"]: m["Name"] for m in raw["Mounts"]},
        }


def committed(reference: State, before: State, state: State) -> State:
    """What a commit leads to from this very `before`: volumes that were there stay; new ones may be any, so `state`'s."""
    expected = {**json.loads(json.dumps(reference)), "rows": before["rows"]}
    for name, container in expected["containers"].items():
        source = before if name in before["containers"] else state
        container["mounts"] = source["containers"].get(name, container)["mounts"]
    for name in expected["volumes"]:
        source = before if name in before["volumes"] else state
        expected["volumes"][name] = source["volumes"].get(name)
    return expected


def same(state: State) -> State:
    """The state as JSON has it, so that two can be compared."""
    return json.loads(json.dumps(state))
