"""`volumes snapshot`: writes a volume to a file, while nothing changes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from moorage.errors import (
    ArchiveError,
    InterruptedRunError,
    RunError,
)
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.request import SnapshotRequest
from moorage.model.state import Observed, RunOutcome
from moorage.model.step import Operation
from moorage.model.volume import Kind, Snapshot
from moorage.rules import engines
from moorage.rules import volumes as rules
from moorage.work.runs import lifecycle, volume_copies
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import locked
from moorage.work.runs.volume_copies import Subject, close
from moorage.work.threads import in_thread, uncancelled
from moorage.work.volumes import archive, copying


@foreign_errors_named()
async def snapshot(context: Context, request: SnapshotRequest) -> Snapshot:
    """Take a snapshot: of PostgreSQL by `pg_dump` while it runs, else of the files while the services rest.

    The services run again afterwards, also when it fails. Raises ArchiveError, DefinitionError, EngineError, HomeError.
    """
    run = lifecycle.new_run(context, Operation.SNAPSHOT, request.stack, None)
    async with locked(run, recover):
        observed = await lifecycle.look(run)
        about = await in_thread(lambda: volume_copies.subject(run, request.volume, observed))
        kind = rules.way(run.services, about.users, running=bool(about.running))
        kind = Kind.FILES if request.as_files else kind
        if kind == Kind.FILES:
            engines.refuse_files(await in_thread(context.world.engine.product), about.key)
        resting = about.running if kind == Kind.FILES else ()
        target = _target(context.world, about, request)
        if request.target:
            await in_thread(lambda: archive.refuse_existing(target, force=request.force))
        part = archive.unfinished(target, run.id)
        await in_thread(lambda: run.open(observed, {"services": list(resting), "unfinished": str(part)}))
        async with _resting(run, observed, resting):
            if not request.target:
                await in_thread(lambda: volume_copies.make_folder(run, target))
            take = volume_copies.take_dump if kind == Kind.POSTGRES else volume_copies.take_files
            run.tell(Action.STARTED, f"snapshot {about.key}", f"{about.volume.name} as {kind}")
            found = await copying.interruptible(lambda stop: take(about, target, request.force, stop))
            run.tell(Action.DONE, f"snapshot {about.key}", found.path)
        return found


def _target(world: World, about: Subject, request: SnapshotRequest) -> Path:
    if request.target:
        return request.target.absolute()
    return volume_copies.own_folder(about.run) / rules.file_name(about.key, world.clock.now())


@asynccontextmanager
async def _resting(run: Run, observed: Observed, names: tuple[str, ...]) -> AsyncIterator[None]:
    """Stop services for the body and start them again, whatever comes; then close the run.

    The next holder of the lock starts what could not be started again.
    """
    outcome, awake = RunOutcome.FAILED, False
    try:
        try:
            if names:
                await carry_out(run, lifecycle.stop_plan(run, observed, names))
            yield
            outcome = RunOutcome.COMMITTED
        finally:
            await uncancelled(volume_copies.wake(run, names))
            awake = True
    except asyncio.CancelledError:
        await uncancelled(close(run, RunOutcome.INTERRUPTED))
        raise InterruptedRunError(
            f"{run.stack}: interrupted; its services are running again", stack=run.stack
        ) from None
    except Exception as error:
        if awake or isinstance(error, RunError):  # what keeps a service itself from starting would do so again
            await uncancelled(close(run, outcome if awake else RunOutcome.FAILED))
        if isinstance(error, OSError):
            words = f"{error.filename or 'the snapshot'}: {error.strerror or error}"
            raise ArchiveError(words, reason="disk") from error
        raise
    await uncancelled(close(run, outcome))
