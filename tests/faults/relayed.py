"""Operations whose requests to the engine go through a relay that strikes one of them, and what they come to."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moorage.errors import MoorageError, RunError
from moorage.model.request import (
    DownRequest,
    RestartRequest,
    RestoreRequest,
    RollbackRequest,
    SnapshotRequest,
    StartRequest,
    StopRequest,
    SweepRequest,
)
from moorage.rules import labels
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.ephemeral.stack import EphemeralStack
from moorage.work.operations.down import down
from moorage.work.operations.restart import restart
from moorage.work.operations.restore import restore
from moorage.work.operations.rollback import rollback
from moorage.work.operations.snapshot import snapshot
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.faults.relay import HOWS, Blow, Relay, killer
from tests.faults.stage import committed, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from moorage.interfaces import World
    from tests.faults.relay import Request
    from tests.faults.stage import Stage, State

LONGEST_S = 120
HUNG_S = 30
"""So long somebody waits for an answer that does not come."""
"""For one operation; then it is cancelled as by Ctrl-C, and so long again it may take to undo."""
OF_FAULTS = (0, 2, 4, 5, 6, 130)
OF_COMPOSE = (1, 14, 17, 18, 125)
"""More of them, of `run`: it becomes Compose, which then says how it ended."""
"""How an operation may end that meets one: `2` where the answer that was cut off is about what was asked for."""
SEED = 20261129
NO_VOLUME = "no volume"


@dataclass(frozen=True)
class Deed:
    """An operation on the stack of a directory."""

    operation: str
    directory: Path
    home: Path
    to: int | None = None
    file: Path | None = None
    """Of a snapshot."""


def settings_of(home: Path) -> Settings:
    """Short limits: who hangs is to be found out soon. Long enough for a machine that is busy."""
    return Settings(
        home=home,
        stop_grace_s=0,
        undo_grace_s=0,
        settle_s=0.0,
        engine_timeout_s=4,
        connect_timeout_s=4,
        compose_timeout_s=20,
        ready_timeout_s=60,
        lock_timeout_s=60,
    )


async def do(world: World, deed: Deed) -> None:
    """Do it."""
    context, stack = Context(world), deed.directory.name
    match deed.operation:
        case "up":
            await up(context, _as_defined(deed))
        case "ci":
            with EphemeralStack(world, stack) as mine:
                await up(context, _as_defined(deed))
                await mine.remove()
        case "sweep":
            found = await sweep(context, SweepRequest())
            if wrong := [one.error for one in found if one.error]:
                raise RunError("; ".join(wrong))
        case "rollback":
            await rollback(context, RollbackRequest(stack=stack, to=deed.to))
        case "snapshot":
            await snapshot(context, SnapshotRequest(stack=stack, volume="data", target=deed.file, force=True))
        case "restore":
            assert deed.file
            await restore(context, RestoreRequest(stack=stack, volume="data", source=deed.file, force=True))
        case other:
            await _without_definition(context, stack, other)


async def _without_definition(context: Context, stack: str, operation: str) -> None:
    """What is done to what is there."""
    match operation:
        case "down":
            await down(context, DownRequest(stack=stack))
        case "down -v":
            await down(context, DownRequest(stack=stack, volumes=True, release_ports=True))
        case "stop":
            await stop(context, StopRequest(stack=stack))
        case "start":
            await start(context, StartRequest(stack=stack))
        case "restart" | "restart --recreate":
            await restart(context, RestartRequest(stack=stack, recreate="--" in operation))
        case other:
            raise ValueError(other)


def _as_defined(deed: Deed) -> UpRequest:
    return UpRequest(source=source_of(deed.directory, (), (), ()))


def exit_code(world: World, deed: Deed) -> int:
    """Do it in this process; gives the exit code that the command would end with."""

    async def limited() -> None:
        async with asyncio.timeout(LONGEST_S):
            await do(world, deed)

    try:
        asyncio.run(limited())
    except MoorageError as error:
        print(f"{deed.operation}: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def one_off(deed: Deed, address: str) -> tuple[list[str], dict[str, str]]:
    """`moorage run`, a command that becomes Compose: its arguments and its environment."""
    settings = settings_of(deed.home).model_dump(exclude_unset=True)
    given = {f"MOORAGE_{key.upper()}": str(value) for key, value in settings.items()}
    arguments = ["--project-directory", str(deed.directory), "--no-deps", "--no-tty", "web", "--", "true"]
    return [sys.executable, "-m", "moorage", "run", *arguments], {**os.environ, **given, "DOCKER_HOST": address}


def main(deed: Deed, address: str) -> None:
    """The same, as a process of its own."""
    os.environ["DOCKER_HOST"] = address
    if deed.operation == "run":
        command, environment = one_off(deed, address)
        os.execve(command[0], command, environment)
    sys.exit(exit_code(open_world(lambda _event: None, settings_of(deed.home)), deed))


@contextmanager
def through(address: str) -> Iterator[None]:
    """In this block the engine is found at the relay."""
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before


def _children() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.relayed"])
    return context


@dataclass
class Case:
    """An operation that meets blows: how to get to where it begins, what it is, and what it may come to."""

    stage: Stage
    relay: Relay
    operation: str
    prepare: Callable[[], None]
    to: int | None = None
    file: Path | None = None
    changes_data: bool = False
    """What is in the volume is another thing when it has committed."""
    told: bool = False
    """Undoes nothing: a failure that is told may leave it half done, and doing it again ends it. So it does if a `stop`
    of it, given up and done again, reaches the engine once more when all is over."""
    leaves_images: bool = False
    """An image that was built is not among the state, but with it the next start asks the engine for less."""
    children: Any = field(default_factory=_children)

    def __post_init__(self) -> None:
        self.prepare()
        self.before = self.state()
        self.relay.begin()
        code = self._here()
        assert code == 0, f"{self.operation} without a blow ends with {code}"
        self.requests = tuple(self.relay.requests)
        self.relay.end()
        self.reference = self.state()

    @property
    def deed(self) -> Deed:
        """What is done."""
        return Deed(self.operation, self.stage.directory, self.stage.home, self.to, self.file)

    def state(self) -> State:
        """All that there is of the stack: what an operation may leave besides, too."""
        stage, api = self.stage, self.stage.client.api
        listed = api.containers(all=True)
        of_stack = {"containers": [], "helpers": []}
        for one in listed:
            marks = one["Labels"] or {}
            if marks.get(labels.COMPOSE_PROJECT) == stage.name:
                of_stack["containers"].append((one["Names"] or [""])[0])
            if marks.get(labels.HELPER) == stage.name:
                of_stack["helpers"].append((one["Names"] or [""])[0])
        snapshots = [one.name for one in (stage.home / "snapshots").rglob("*") if one.is_file()]
        more = {"all": sorted(of_stack["containers"]), "helpers": of_stack["helpers"], "copies": sorted(snapshots)}
        return same({**stage.state(), **more})

    def meets(self, blow: Blow) -> str:
        """Empty: it held. Else what is wrong."""
        if self.leaves_images or self.state() != self.before:
            self.prepare()
            self.before = self.state()
        self.relay.begin(blow)
        code = self._in_a_child() if blow.how == "kill" else self._here(hangs=blow.how == "hang")
        self.relay.end()
        documented = OF_FAULTS + (OF_COMPOSE if self.operation == "run" else ())
        if code not in documented and not (blow.how in ("kill", "hang") and code == -signal.SIGKILL):
            return f"ended with {code}"
        return self._ends(code)

    def _here(self, *, hangs: bool = False) -> int:
        if self.operation == "run":
            command, environment = one_off(self.deed, self.relay.address)
            return _ended(subprocess.Popen(command, env=environment), HUNG_S if hangs else LONGEST_S)
        with through(self.relay.address):
            world = open_world(lambda _event: None, settings_of(self.stage.home))
            try:
                return exit_code(world, self.deed)
            finally:
                world.store.close()

    def _in_a_child(self) -> int:
        child = self.children.Process(target=main, args=(self.deed, self.relay.address))
        child.start()
        self.relay.kill = killer(child.pid)
        child.join(2 * LONGEST_S)
        assert child.exitcode is not None, f"{self.operation} has not ended"
        return int(child.exitcode)

    def _ends(self, code: int) -> str:
        wrong = self._swept()
        if wrong and self.told and (code in (4, 5) or self.relay.came_last):
            self.relay.begin()
            code = self._here()
            wrong = f"done again it ended with {code}: {wrong}" if code else self._swept()
        return f"ended with {code}; {wrong}" if wrong else ""

    def _swept(self) -> str:
        """After one sweep, by who sees the engine itself, all is as before, or committed. Empty: so it is."""
        found = asyncio.run(sweep(Context(self.stage.world), SweepRequest()))
        if errors := [one.error for one in found if one.error]:
            return f"sweep: {errors}"
        state, before = self.state(), self.before
        wanted = committed(self.reference, before, state)
        if self.changes_data or before["rows"] == NO_VOLUME:
            wanted["rows"] = self.reference["rows"]
        if state in (before, wanted):
            return unleased(state)
        wrong = [
            f"{key}: {state[key]}, before {before[key]}, committed {wanted[key]}"
            for key in state
            if state[key] not in (before[key], wanted[key])
        ]
        return "neither as before nor committed: " + "; ".join(wrong)


def _ended(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """Its exit code. What Compose waits for has no limit: whoever has lost patience presses Ctrl-C, and then kills it."""
    for last in (signal.SIGINT, signal.SIGKILL):
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.send_signal(last)
    return process.wait()


def unleased(state: State) -> str:
    """No container publishes a port that is not leased. Empty: so it is."""
    leased = {str(lease[1]) for lease in state["leases"]}
    bound = {b["HostPort"] for c in state["containers"].values() for p in (c["ports"] or {}).values() for b in p or ()}
    return "" if bound <= leased else f"ports {sorted(bound - leased)} are published and not leased"


def blows(requests: tuple[Request, ...], seed: int, many: int | None = None) -> list[Blow]:
    """All blows to an operation's requests in a seeded order: each kind of request meets each blow before one does so
    again. `many`: the first so many.
    """
    chance = random.Random(seed)
    by_kind: dict[tuple[str, str], list[Blow]] = defaultdict(list)
    for request in requests:
        for how in HOWS:
            if how != "late" or request.changes:
                by_kind[request.kind, how].append(Blow(request.number, how, chance.randrange(8)))
    for found in by_kind.values():
        chance.shuffle(found)
    rounds = max(map(len, by_kind.values()), default=0)
    ordered = []
    for turn in range(rounds):
        these = [found[turn] for found in by_kind.values() if turn < len(found)]
        chance.shuffle(these)
        ordered += these
    return ordered[:many]
