"""Snapshots of volumes: taken while nothing writes, restored whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.errors import (
    ArchiveError,
    DefinitionError,
    EngineError,
    InterruptedRunError,
    MoorageError,
    RunError,
    UndoIncompleteError,
)
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.state import Observed
from moorage.model.step import Operation
from moorage.model.volume import Kind, Snapshot
from moorage.rules import volumes as rules
from moorage.work import archives, copying, ending
from moorage.work.archives import Reader
from moorage.work.copying import Subject
from moorage.work.operation import locked, uncancelled
from moorage.work.recovery import recover
from moorage.work.run import Run
from moorage.work.threads import in_thread
from moorage.work.undo import ActOf, directly


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


async def snapshot(world: World, taking: Taking, act_of: ActOf = directly, flow_run_id: str | None = None) -> Snapshot:
    """Take a snapshot: of PostgreSQL by `pg_dump` while it runs, else of the files while the services rest.

    The services run again afterwards, also when it fails. Raises ArchiveError, DefinitionError, EngineError, HomeError.
    """
    run = ending.new_run(world, Operation.SNAPSHOT, taking.stack, flow_run_id, None)
    async with locked(run, recover):
        observed = await ending.look(run)
        about = await in_thread(lambda: copying.subject(run, taking.volume, observed))
        kind = rules.way(run.services, about.users, running=bool(about.running))
        kind = Kind.FILES if taking.as_files else kind
        resting = about.running if kind == Kind.FILES else ()
        target = (taking.target or _default_target(world, about)).absolute()
        await in_thread(lambda: archives.refuse_existing(target, force=taking.force))
        part = archives.unfinished(target, run.id)
        await in_thread(lambda: run.open(observed, {"services": list(resting), "unfinished": str(part)}))
        async with _resting(run, observed, resting, act_of):
            take = copying.take_dump if kind == Kind.POSTGRES else copying.take_files
            run.tell(Action.STARTED, f"snapshot {about.key}", f"{about.volume.name} as {kind}")
            found = await copying.interruptible(lambda stop: take(about, target, taking.force, stop))
            run.tell(Action.DONE, f"snapshot {about.key}", found.path)
        return found


def _default_target(world: World, about: Subject) -> Path:
    # Through `files`, so that the folder is made the way all of them are.
    name = f"snapshots/{about.run.stack}/{rules.file_name(about.key, world.clock.now())}"
    place = world.files.write(f"{name}.place", "")
    world.files.remove(f"{name}.place")
    return place.with_suffix("")


@asynccontextmanager
async def _resting(run: Run, observed: Observed, names: tuple[str, ...], act_of: ActOf) -> AsyncIterator[None]:
    """Stop services for the body and start them again, whatever comes; then close the run.

    What was not started again, for want of an engine, is started by whoever takes the lock next.
    """
    outcome = "failed"
    try:
        try:
            if names:
                await ending.halt(run, observed, names, act_of)
            yield
            outcome = "committed"
        finally:
            await uncancelled(copying.wake(run, names, act_of))
    except asyncio.CancelledError:
        await uncancelled(close(run, "interrupted"))
        raise InterruptedRunError(f"{run.stack}: interrupted; its services run again", stack=run.stack) from None
    except OSError as error:
        await uncancelled(close(run, outcome))
        raise ArchiveError(f"{error.filename or 'the snapshot'}: {error.strerror}", reason="disk") from error
    except (ArchiveError, EngineError, RunError, DefinitionError) as error:
        if not error.retryable:
            await uncancelled(close(run, outcome))
        raise
    await uncancelled(close(run, outcome))


async def close(run: Run, outcome: str) -> None:
    """The run has ended."""
    await in_thread(lambda: run.world.store.close_run(run.id, outcome, run.world.clock.now()))


@dataclass(frozen=True)
class Restoring:
    """What is to be restored, and where."""

    stack: str
    source: Path
    volume: str | None = None
    """None: the one that the snapshot was taken of."""
    force: bool = False
    """True: what is in the volume is replaced."""


async def restore(
    world: World, asked: Restoring, act_of: ActOf = directly, flow_run_id: str | None = None
) -> tuple[Subject, Snapshot]:
    """Replace what is in a volume by a snapshot, and compare; services on it rest meanwhile, dependents too.

    The snapshot is read whole before anything is touched. If anything fails later, the volume gets back what was in it.
    Raises ArchiveError, DefinitionError, RunError, UndoIncompleteError.
    """
    with Reader(asked.source.absolute()) as reader:
        found = await in_thread(lambda: reader.verify(_limit(world)))
        run = ending.new_run(world, Operation.RESTORE, asked.stack, flow_run_id, None)
        async with locked(run, recover):
            observed = await ending.look(run)
            about = await in_thread(lambda: copying.subject(run, asked.volume or found.manifest.volume, observed))
            empty = await in_thread(lambda: copying.refuse_irreplaceable(about, found, force=asked.force))
            facts = await in_thread(lambda: _facts(about, observed, empty=empty))
            await in_thread(lambda: run.open(observed, facts))
            async with _put_back_on_failure(run, facts, act_of):
                await _replace(about, reader, found, facts, act_of)
                await uncancelled(close(run, "committed"))
        await in_thread(lambda: archives.discard(Path(facts["safety"]), run.id))
        return about, found


def _limit(world: World) -> int:
    free = world.volumes.free_bytes()
    limit = world.settings.archive_limit_bytes
    return limit if free is None else min(limit, free)


def _facts(about: Subject, observed: Observed, *, empty: bool) -> dict[str, Any]:
    """What undoes the restore, also after a crash."""
    run = about.run
    affected = rules.with_dependents(run.services, about.users)
    safety = run.world.settings.home.expanduser().absolute() / "snapshots" / run.stack / f"before-{run.id}.tar.zst"
    return {
        "services": sorted(affected & rules.running_services(observed)),
        "users": list(about.users),
        "volume": about.volume.model_dump(mode="json"),
        "image": about.image,
        "generation": about.generation.number,
        "empty": empty,
        "safety": str(safety),
        "emptied": False,
    }


async def _replace(about: Subject, reader: Reader, found: Snapshot, facts: dict[str, Any], act_of: ActOf) -> None:
    run, name = about.run, about.volume.name
    if facts["services"]:
        await ending.halt(run, about.observed, facts["services"], act_of)
    run.tell(Action.STARTED, f"restore {about.key}", found.path)
    if not facts["empty"]:
        await in_thread(lambda: _make_folder(run))
        safety = Path(facts["safety"])
        await copying.interruptible(lambda stop: copying.take_files(about, safety, True, stop))
    facts["emptied"] = True
    await in_thread(lambda: _note(run, facts))
    await copying.renew(run, about.volume, about.users)
    if found.manifest.kind == Kind.FILES:
        await copying.interruptible(lambda stop: copying.fill(run, name, facts["image"], reader, found, stop))
    if about.users:
        await copying.create(run, about.generation, act_of)
    if found.manifest.kind == Kind.POSTGRES:
        await copying.wake(run, about.users, act_of)
        await copying.load_dump(about, reader, found)
    run.tell(Action.DONE, f"restore {about.key}", f"{name}: {found.contents.members} members, verified")
    await copying.wake(run, facts["services"], act_of)


def _make_folder(run: Run) -> None:
    run.world.files.write(f"snapshots/{run.stack}/.place", "")
    run.world.files.remove(f"snapshots/{run.stack}/.place")


def _note(run: Run, facts: dict[str, Any]) -> None:
    """From here on an undo has something to put back."""
    assert run.record is not None  # noqa: S101 - written down before
    run.record = run.record.model_copy(update={"arguments": dict(facts)})
    run.world.store.update_run(run.record)


@asynccontextmanager
async def _put_back_on_failure(run: Run, facts: dict[str, Any], act_of: ActOf) -> AsyncIterator[None]:
    try:
        yield
    except BaseException as error:
        run.tell(Action.NOTICE, message="undoing")
        try:
            await uncancelled(copying.put_back(run, facts, act_of))
            await uncancelled(close(run, "undone"))
        except MoorageError as problem:
            cause = "interrupted" if isinstance(error, asyncio.CancelledError) else error
            raise UndoIncompleteError(
                f"{run.stack}: {cause}; the undo is incomplete: {problem}",
                hint="`moorage sweep` tries again; what was in the volume is in the file named.",
                stack=run.stack,
                left=[str(problem)],
                command=f"moorage volumes restore {facts['safety']} --force --name {run.stack}",
            ) from error
        if isinstance(error, asyncio.CancelledError):
            message = f"{run.stack}: interrupted; the volume is as it was"
            raise InterruptedRunError(message, stack=run.stack, undone=True) from None
        if not isinstance(error, MoorageError):
            raise
        fields = {**error.fields, "stack": run.stack, "undone": True}
        raise RunError(f"{run.stack}: {error}; the volume is as it was", hint=error.hint, **fields) from error
