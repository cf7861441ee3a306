"""What the processes of a history do: commands of Moorage, and what strangers do to the machine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.request import (
    DownRequest,
    HealRequest,
    RestartRequest,
    RestoreRequest,
    RollbackRequest,
    SnapshotRequest,
    StartRequest,
    StopRequest,
    SweepRequest,
)
from moorage.testing import around_every_call
from moorage.testing.compose import FakeCompose
from moorage.testing.volumes import FakeVolumes
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.down import down
from moorage.work.operations.heal import heal
from moorage.work.operations.prune import prune, to_prune
from moorage.work.operations.release_ports import release
from moorage.work.operations.restart import restart
from moorage.work.operations.restore import restore
from moorage.work.operations.rollback import rollback
from moorage.work.operations.snapshot import snapshot
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from tests.properties.simulator.faults import Fault, Struck, half_of

if TYPE_CHECKING:
    from tests.properties.simulator.scheduler import Process
    from tests.properties.simulator.stage import Stage

Act = Callable[[World, "Command"], Coroutine[Any, Any, Any] | None]


@dataclass(eq=False)
class Command:
    """One command: its words, its faults, and what became of it."""

    stage: Stage
    name: str
    verb: str
    stack: str
    how: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    error: BaseException | None = None
    ended: bool = False
    half: bool = False
    """A copy that is made now ends in its middle."""
    disturbed: bool = False
    """A stranger was at its stack meanwhile, or one of its effects was made to fail."""
    outlived: frozenset[str] = frozenset()
    """Runs that were open when it died and a child of it went on."""
    process: Process = field(init=False)
    calls: Struck = field(init=False)

    def __post_init__(self) -> None:
        self.calls = Struck(self)

    def world(self) -> World:
        """The world as its process sees it: each call may be the last."""
        world = self.stage.world()
        seen = around_every_call(
            replace(world, compose=_Compose(self), volumes=_Volumes(self.stage.machine, self)),
            self.calls.call,
        )
        return replace(seen, lock=self.stage.locks.of(self.process))

    def act(self) -> Coroutine[Any, Any, Any] | None:
        """Do it; a coroutine is to be run."""
        return VERBS[self.verb](self.world(), self)


class _Compose(FakeCompose):
    """Compose whose effects come one by one, and whose calls may outlive their process."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.stage.machine, command.stage.files, command.calls.inner)
        self._command = command

    def end_strays(self, stack: str) -> None:
        self._command.stage.end_strays(stack)


class _Volumes(FakeVolumes):
    """Volumes whose writes may be cut off in the middle."""

    def __init__(self, machine: Any, command: Command) -> None:
        super().__init__(machine)
        self._command = command

    def write(self, name: str, image: str, stack: str, tar: Any) -> None:
        super().write(name, image, stack, half_of(tar) if self._command.half else tar)


def _named(command: Command) -> tuple[str, ...]:
    return tuple(command.how.get("services") or ())


def _up(world: World, command: Command) -> Coroutine[Any, Any, Any]:
    file = command.stage.written(command.stack, command.how["services"])
    source = Source(directory=command.stage.folder_of(command.stack), files=(file,))
    request = UpRequest(
        source=source,
        name=command.stack,
        keep_failed=bool(command.how.get("keep_failed")),
        ttl_s=command.how.get("ttl_s"),
        force_recreate=bool(command.how.get("force_recreate")),
        strict_ports=bool(command.how.get("strict_ports")),
    )
    return up(Context(world), request)


def _down(world: World, command: Command) -> Coroutine[Any, Any, Any]:
    how = command.how
    request = DownRequest(
        stack=command.stack,
        volumes=bool(how.get("volumes")),
        release_ports=bool(how.get("ports")),
        services=_named(command),
    )
    return down(Context(world), request)


def _snapshot(world: World, command: Command) -> Coroutine[Any, Any, Any]:
    request = SnapshotRequest(
        stack=command.stack, volume="data", target=command.stage.archive_of(command.stack), force=True
    )
    return snapshot(Context(world), request)


def _restore(world: World, command: Command) -> Coroutine[Any, Any, Any]:
    request = RestoreRequest(stack=command.stack, source=command.stage.archive_of(command.stack), force=True)
    return restore(Context(world), request)


def _release(world: World, command: Command) -> None:
    release(replace(world, settings=world.settings.model_copy(update={"lock_timeout_s": 0})), command.stack, ())


def _prune(world: World, command: Command) -> None:
    prune(world, to_prune(world, command.stack, all_=True)[0])


def _foreign(_world: World, command: Command) -> None:
    """A stranger, who asks no lock."""
    stage, process = command.stage, command.process
    for _ in range(command.how.get("after", 1)):
        process.scheduler.hand_on(process)
    for _ in range(_LONGEST if command.how.get("until") == "copied" else 0):
        if stage.copies(command.stack):
            break
        process.scheduler.hand_on(process)
    stage.trace.append(f"{command.name}: {command.how['what']} {command.stack}")
    stage.strange(command.how["what"], command.stack)


VERBS: dict[str, Act] = {
    "up": _up,
    "down": _down,
    "stop": lambda world, c: stop(Context(world), StopRequest(stack=c.stack, services=_named(c))),
    "start": lambda world, c: start(Context(world), StartRequest(stack=c.stack, services=_named(c))),
    "restart": lambda world, c: restart(
        Context(world),
        RestartRequest(stack=c.stack, services=_named(c), recreate=bool(c.how.get("recreate"))),
    ),
    "rollback": lambda world, c: rollback(Context(world), RollbackRequest(stack=c.stack)),
    "heal": lambda world, c: heal(Context(world), HealRequest(stack=c.stack, insist=True)),
    "snapshot": _snapshot,
    "restore": _restore,
    "sweep": lambda world, _c: sweep(Context(world), SweepRequest()),
    "release": _release,
    "prune": _prune,
    "foreign": _foreign,
}
HARMLESS = ("write", "take port", "free ports", "hide port")
DISTURBING = ("end", "remove")
_LONGEST = 1000
"""So many turns a stranger waits for what may never come."""


def archive_path(folder: Path, stack: str) -> Path:
    """Where the snapshots of a stack's volume go."""
    return folder / f"{stack}.tar.zst"
