"""Snapshots of volumes: taken while nothing writes, restored whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from moorage.errors import (
    ArchiveError,
    InterruptedRunError,
    RunError,
)
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.state import Observed
from moorage.model.step import Operation
from moorage.model.volume import Kind, Snapshot
from moorage.rules import volumes as rules
from moorage.work.runs import lifecycle, volume_copies
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.steps import StepRunnerFor, directly
from moorage.work.runs.transaction import locked
from moorage.work.runs.volume_copies import Subject, close
from moorage.work.threads import in_thread, uncancelled
from moorage.work.volumes import archive, copying


@dataclass(frozen=True)
class Taking:
    """What is to be taken a snapshot of, and how."""

    stack: str
    volume: str
    target: Path | None = None
    """None: in `snapshots/STACK` of `$MOORAGE_HOME`."""
    as_files: bool = False
    """True: files also of a PostgreSQL that runs; it is stopped for it."""
    force: bool = False
    """True: a file that is there is overwritten."""


@foreign_errors_named()
async def snapshot(
    world: World, taking: Taking, act_of: StepRunnerFor = directly, flow_run_id: str | None = None
) -> Snapshot:
    """Take a snapshot: of PostgreSQL by `pg_dump` while it runs, else of the files while the services rest.

    The services run again afterwards, also when it fails. Raises ArchiveError, DefinitionError, EngineError, HomeError.
    """
    run = lifecycle.new_run(world, Operation.SNAPSHOT, taking.stack, flow_run_id, None)
    async with locked(run, recover):
        observed = await lifecycle.look(run)
        about = await in_thread(lambda: volume_copies.subject(run, taking.volume, observed))
        kind = rules.way(run.services, about.users, running=bool(about.running))
        kind = Kind.FILES if taking.as_files else kind
        resting = about.running if kind == Kind.FILES else ()
        target = await in_thread(lambda: _target(world, about, taking))
        await in_thread(lambda: archive.refuse_existing(target, force=taking.force))
        part = archive.unfinished(target, run.id)
        await in_thread(lambda: run.open(observed, {"services": list(resting), "unfinished": str(part)}))
        async with _resting(run, observed, resting, act_of):
            take = volume_copies.take_dump if kind == Kind.POSTGRES else volume_copies.take_files
            run.tell(Action.STARTED, f"snapshot {about.key}", f"{about.volume.name} as {kind}")
            found = await copying.interruptible(lambda stop: take(about, target, taking.force, stop))
            run.tell(Action.DONE, f"snapshot {about.key}", found.path)
        return found


def _target(world: World, about: Subject, taking: Taking) -> Path:
    if taking.target:
        return taking.target.absolute()
    # Through `files`, so that the folder is made the way all of them are.
    name = f"snapshots/{about.run.stack}/{rules.file_name(about.key, world.clock.now())}"
    place = world.files.write(f"{name}.place", "")
    world.files.remove(f"{name}.place")
    return place.with_suffix("").absolute()


@asynccontextmanager
async def _resting(run: Run, observed: Observed, names: tuple[str, ...], act_of: StepRunnerFor) -> AsyncIterator[None]:
    """Stop services for the body and start them again, whatever comes; then close the run.

    What could not be started again is started by whoever takes the lock next.
    """
    outcome, awake = "failed", False
    try:
        try:
            if names:
                await lifecycle.halt(run, observed, names, act_of)
            yield
            outcome = "committed"
        finally:
            await uncancelled(volume_copies.wake(run, names, act_of))
            awake = True
    except asyncio.CancelledError:
        await uncancelled(close(run, "interrupted"))
        raise InterruptedRunError(f"{run.stack}: interrupted; its services run again", stack=run.stack) from None
    except Exception as error:
        if awake or isinstance(error, RunError):  # what keeps a service itself from starting would do so again
            await uncancelled(close(run, outcome))
        if isinstance(error, OSError):
            words = f"{error.filename or 'the snapshot'}: {error.strerror or error}"
            raise ArchiveError(words, reason="disk") from error
        raise
    await uncancelled(close(run, outcome))
