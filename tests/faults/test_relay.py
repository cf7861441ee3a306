"""Each request that an operation sends to the engine is refused, lost, cut off, answered wrongly or too late, or its last.

The requests are those that a relay before the engine's socket takes down, of the Docker SDK and of Compose; nothing is
listed here by hand. After the blow one `sweep` has to bring the machine to exactly the state before, or the committed
one. `make test` strikes a few that a seed chooses, `make faults` so many of each operation as `FAULTS_RELAY` says.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import ImageNotFound

from moorage.errors import MoorageError
from moorage.model.request import DownRequest
from moorage.work.operations import orphans
from moorage.work.operations.down import down
from moorage.work.runs.context import Context
from tests.counts import COUNTS
from tests.faults import relayed
from tests.faults.driver import Fault
from tests.faults.relay import Blow, Relay
from tests.faults.relayed import Case, Deed, blows
from tests.faults.table import RELAYED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.stage import Stage

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]

MANY = int(os.environ.get("FAULTS_RELAY", "0")) or None
"""So many blows to each operation, in a seeded order. None: all of them."""
SEED = int(os.environ.get("FAULTS_SEED", relayed.SEED))
SECONDS = float(os.environ.get("FAULTS_RELAY_S", "inf"))
"""After so long no further blow of a part is tried."""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """Before the engine of this machine."""
    with Relay(tmp_path / "relay.sock") as made:
        yield made


class Stack:
    """What the operations are done to."""

    def __init__(self, stage: Stage, image: str, port: int) -> None:
        self.stage, self.image, self.port = stage, image, port
        stage.rows = self.content

    def define(self, version: int) -> None:
        """A service with a volume and a check, and one that depends on it, with a port."""
        common = {"image": self.image, "environment": {"VERSION": str(version)}, "stop_grace_period": "0s"}
        db = {**common, "command": ["sleep", "1000"], "volumes": ["data:/data"]}
        db["healthcheck"] = {"test": ["CMD", "true"], "interval": "1s"}
        web = {**common, "command": ["httpd", "-f", "-p", "80"], "ports": [f"{self.port + version}:80"]}
        self.stage.define(db=db, web={**web, "depends_on": {"db": {"condition": "service_healthy"}}})

    def define_built(self) -> None:
        """A service whose image is built each time, from the layers of the first: so it is the same image."""
        directory, images = self.stage.directory, self.stage.client.images
        (directory / "Dockerfile").write_text(f"FROM {self.image}\nCOPY made /made\nRUN echo {self.stage.name}\n")
        (directory / "made").write_text("made")
        self.stage.define(web={"build": ".", "command": ["sleep", "1000"], "stop_grace_period": "0s"})
        with suppress(ImageNotFound):
            images.get(f"{self.stage.name}-web").tag(f"{self.stage.name}-first")
            images.remove(f"{self.stage.name}-web", force=True)

    def do(self, operation: str, **more: Any) -> None:
        """Without a blow, and not through the relay."""
        stage = self.stage
        asyncio.run(relayed.do(stage.world, Deed(operation, stage.directory, stage.home, **more)))

    def forget(self) -> None:
        """No trace of it."""
        stage = self.stage
        asyncio.run(orphans.remove_orphans(stage.world))
        asyncio.run(down(Context(stage.world), DownRequest(stack=stage.name, volumes=True, release_ports=True)))

    def fresh(self, *versions: int) -> None:
        """As if nothing had been before these starts."""
        self.forget()
        for version in versions:
            self.define(version)
            self.do("up")

    def write(self, text: str) -> None:
        """Put a file into the volume."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo("kept")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        self.stage.client.api.put_archive(f"{self.stage.name}-db-1", "/data", packed.getvalue())

    def content(self) -> str:
        """What is in the volume."""
        world, name = self.stage.world, f"{self.stage.name}_data"
        if world.volumes.find(name) is None:
            return relayed.NO_VOLUME
        with tarfile.open(
            fileobj=io.BytesIO(b"".join(world.volumes.read(name, self.image, self.stage.name)))
        ) as all_of_it:
            files = [member for member in all_of_it if member.isfile()]
            return repr({one.name: all_of_it.extractfile(one).read() for one in files})  # type: ignore[union-attr]


@pytest.fixture
def stack(stage: Stage, tiny_image: str, wanted_port: int) -> Stack:
    """Not there yet."""
    return Stack(stage, tiny_image, wanted_port)


def first_up(stack: Stack, relay: Relay) -> Case:
    def prepare() -> None:
        stack.forget()
        stack.define(1)

    return Case(stack.stage, relay, "up", prepare)


def built(stack: Stack, relay: Relay) -> Case:
    def prepare() -> None:
        stack.forget()
        stack.define_built()

    return Case(stack.stage, relay, "up", prepare, leaves_images=True)


def one_off(stack: Stack, relay: Relay) -> Case:
    """`moorage run`, whose container Compose makes and removes."""

    def prepare() -> None:
        if stack.stage.world.store.stack(stack.stage.name) is None:
            stack.fresh(1)
            stack.write("rows")
        stack.do("up")

    return Case(stack.stage, relay, "run", prepare)


def change(stack: Stack, relay: Relay) -> Case:
    def prepare() -> None:
        stack.fresh(1)
        stack.write("rows")
        stack.define(2)

    return Case(stack.stage, relay, "up", prepare)


def rollback(stack: Stack, relay: Relay) -> Case:
    def prepare() -> None:
        stack.fresh(1, 2)
        stack.write("rows")

    return Case(stack.stage, relay, "rollback", prepare, to=1)


def running(operation: str, *, told: bool = False, changes_data: bool = False) -> Callable[[Stack, Relay], Case]:
    def made(stack: Stack, relay: Relay) -> Case:
        def prepare() -> None:
            record = stack.stage.world.store.stack(stack.stage.name)
            if record is None:
                stack.fresh(1)
                stack.write("rows")
            else:
                stack.do("up")

        return Case(stack.stage, relay, operation, prepare, told=told, changes_data=changes_data)

    return made


def start(stack: Stack, relay: Relay) -> Case:
    def prepare() -> None:
        if stack.stage.world.store.stack(stack.stage.name) is None:
            stack.fresh(1)
        stack.do("up")
        stack.do("stop")

    return Case(stack.stage, relay, "start", prepare, told=True)


def snapshot(stack: Stack, relay: Relay) -> Case:
    file = stack.stage.directory.parent / "taken.tar.zst"
    stack.fresh(1)
    stack.write("rows")
    return Case(stack.stage, relay, "snapshot", lambda: stack.do("up"), file=file)


def restore(stack: Stack, relay: Relay) -> Case:
    file = stack.stage.directory.parent / "taken.tar.zst"
    stack.fresh(1)
    stack.write("rows")
    stack.do("snapshot", file=file)

    def prepare() -> None:
        stack.do("up")
        stack.write("others")

    return Case(stack.stage, relay, "restore", prepare, file=file, changes_data=True)


def ci(stack: Stack, relay: Relay) -> Case:
    def prepare() -> None:
        stack.forget()
        stack.define(1)

    return Case(stack.stage, relay, "ci", prepare)


def sweep(stack: Stack, relay: Relay) -> Case:
    """It ends a change that was killed in the midst of it."""

    def prepare() -> None:
        stack.fresh(1)
        stack.write("rows")
        stack.define(2)
        stack.stage.fails("up", Fault("start web", "before"))

    return Case(stack.stage, relay, "sweep", prepare)


OPERATIONS: dict[str, Callable[[Stack, Relay], Case]] = {
    "up (first)": first_up,
    "up (build)": built,
    "up (change)": change,
    "rollback": rollback,
    "stop": running("stop"),
    "start": start,
    "restart": running("restart", told=True),
    "restart --recreate": running("restart --recreate", told=True),
    "down": running("down"),
    "down -v": running("down -v", changes_data=True),
    "snapshot": snapshot,
    "restore": restore,
    "ci": ci,
    "sweep": sweep,
    "run": one_off,
}


def strike(case: Case, name: str, many: list[Blow], record: Callable[[str, Any], None]) -> None:
    """All of these; the failures, if any, are told at the end."""
    failures, began = [], time.monotonic()
    for blow in many:
        if time.monotonic() - began > SECONDS:
            break
        try:
            wrong = case.meets(blow)
        except MoorageError as error:
            wrong = f"{type(error).__name__}: {error}"
        record(RELAYED, {"operation": name, "how": blow.how, "survived": not wrong})
        what = case.relay.struck
        record(COUNTS, {"of": "requests struck by the relay", "how": {what.sender if what else "none": 1}})
        if wrong:
            failures.append(f"{name}, {blow}, {what.kind if what else 'did not come'}: {wrong}")
            print(failures[-1], flush=True)
            case.before = {}
    assert not failures, f"{len(failures)} did not hold:\n" + "\n".join(failures)


SLICES = {"up (first)": 3, "snapshot": 3}
"""So many blows that the seed chooses are part of `make test`: what a start and a volume's copy ask of the engine."""


@pytest.mark.parametrize("name", SLICES)
def test_some_requests_meet_some_blows(stack, relay, record_property, name):
    case = OPERATIONS[name](stack, relay)
    chosen = [one for one in blows(case.requests, SEED) if one.how not in ("hang", "kill")][: SLICES[name]]
    if name == "snapshot":  # the container that mounts the volume was left there for ever
        creations = [one.number for one in case.requests if one.kind == "sdk POST /containers/create"]
        chosen += [Blow(creations[0], how) for how in ("500", "half")]
    strike(case, name, chosen, record_property)


SHARDS = 4
"""Each operation's blows in so many parts, which several processes can take at once."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_request_meets_every_blow(stack, relay, record_property, name, shard):
    case = OPERATIONS[name](stack, relay)
    every = blows(case.requests, SEED)[shard::SHARDS]
    found = {"requests": len(case.requests) if shard == 0 else 0, "blows": len(every)}
    record_property(COUNTS, {"of": "requests and blows there are", "how": found})
    strike(case, name, every[: MANY and max(MANY // SHARDS, 1)], record_property)
