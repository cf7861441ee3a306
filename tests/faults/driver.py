"""The child process of the fault tests: does one operation to a stack, and fails or kills itself on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests.exceptions import ChunkedEncodingError

from moorage.errors import EngineError, MoorageError
from moorage.model.request import (
    DownRequest,
    RestartRequest,
    RestoreRequest,
    RollbackRequest,
    StartRequest,
    StopRequest,
    SweepRequest,
)
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.operations.down import down
from moorage.work.operations.restart import restart
from moorage.work.operations.restore import restore
from moorage.work.operations.rollback import rollback
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.work.runs.scheduler import directly
from moorage.world import open_world

if TYPE_CHECKING:
    from moorage.interfaces import World
    from moorage.model.step import Step
    from moorage.work.runs.context import StepRunner
    from moorage.work.runs.run import Run

COMMIT = "commit"
"""The commit's one write, as if it were a step."""


@dataclass(frozen=True)
class Fault:
    """What happens at a step: it `raises`, or the process gets SIGKILL just `before` or just `after` it.

    `foreign`: it is done, and what comes out of it is no error of Moorage's, as where the engine's answer is cut off.
    """

    step: str
    how: str


@dataclass(frozen=True)
class Deed:
    """An operation on the stack of a directory."""

    operation: str
    directory: Path
    home: Path
    lock_timeout_s: float = 60.0
    to: int | None = None
    recreate: bool = False
    source: Path | None = None
    """What is restored."""


def settings_of(deed: Deed) -> Settings:
    """No grace and little patience: what is stopped takes no notice of SIGTERM."""
    return Settings(
        home=deed.home,
        stop_grace_s=0,
        undo_grace_s=0,
        settle_s=0.0,
        ready_timeout_s=90,
        lock_timeout_s=deed.lock_timeout_s,
    )


def world_of(deed: Deed) -> World:
    """The real world, told nothing by nobody."""
    return open_world(lambda _event: None, settings_of(deed))


async def do(world: World, deed: Deed, act_of: Any = None) -> None:
    """Do it."""
    stack = deed.directory.name
    match deed.operation:
        case "up":
            await up(Context(world, step_runner=act_of), UpRequest(source=source_of(deed.directory, (), (), ())))
        case "down":
            await down(Context(world, step_runner=act_of), DownRequest(stack=stack))
        case "stop":
            await stop(Context(world, step_runner=act_of), StopRequest(stack=stack))
        case "start":
            await start(Context(world, step_runner=act_of), StartRequest(stack=stack))
        case "restart":
            await restart(Context(world, step_runner=act_of), RestartRequest(stack=stack, recreate=deed.recreate))
        case "rollback":
            await rollback(Context(world, step_runner=act_of), RollbackRequest(stack=stack, to=deed.to))
        case "restore":
            assert deed.source
            await restore(
                Context(world, step_runner=act_of), RestoreRequest(stack=stack, source=deed.source, force=True)
            )
        case "sweep":
            await sweep(Context(world), SweepRequest())
        case other:
            raise ValueError(other)


def main(deed: Deed, fault: Fault | None) -> None:
    """Do it in this process; it ends with the exit code of the command, or with -9."""
    world = world_of(deed)
    strike = _Strike(fault)
    world = replace(world, store=_Store(world.store, strike))
    try:
        asyncio.run(do(world, deed, strike.act_of))
    except MoorageError as error:
        print(f"{deed.operation}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


class _Strike:
    """Strikes once."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault

    def at(self, step: str, *, after: bool) -> None:
        """Called before and after each step."""
        fault = self._fault
        if fault is None or fault.step != step or (fault.how in ("after", "foreign")) != after:
            return
        self._fault = None
        if fault.how == "raises":
            raise EngineError("made to fail")
        if fault.how == "foreign":
            raise ChunkedEncodingError("made to fail")
        os.kill(os.getpid(), signal.SIGKILL)

    def act_of(self, run: Run) -> StepRunner:
        """Steps without Prefect, struck."""
        inner = directly(run)

        async def act(step: Step, needs: list[Any]) -> Any:
            self.at(step.id, after=False)
            done = await inner(step, needs)
            self.at(step.id, after=True)
            return done

        return act


class _Store:
    """The registry, whose commit counts as a step."""

    def __init__(self, store: Any, strike: _Strike) -> None:
        self._store = store
        self._strike = strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, *args: Any) -> None:
        """End a run well."""
        self._strike.at(COMMIT, after=False)
        self._store.commit(*args)
        self._strike.at(COMMIT, after=True)
