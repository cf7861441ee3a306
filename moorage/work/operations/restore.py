"""`volumes restore`: a volume gets the content of a snapshot, whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from moorage.errors import (
    InterruptedRunError,
    MoorageError,
    RunError,
    UndoIncompleteError,
    said,
)
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.request import RestoreRequest
from moorage.model.state import Observed, RunOutcome
from moorage.model.step import Operation
from moorage.model.volume import Kind, Snapshot
from moorage.rules import engines
from moorage.rules import volumes as rules
from moorage.work.runs import lifecycle, volume_copies
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named, named
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.runs.transaction import locked
from moorage.work.runs.volume_copies import Subject, close
from moorage.work.threads import in_thread, uncancelled
from moorage.work.volumes import copying
from moorage.work.volumes.archive import Reader


@foreign_errors_named()
async def restore(context: Context, request: RestoreRequest) -> tuple[Subject, Snapshot]:
    """Replace what is in a volume by a snapshot, and compare; services on it rest meanwhile, dependents too.

    The snapshot is read whole before anything is touched. If anything fails later, the volume gets back what was in it.
    Raises ArchiveError, DefinitionError, RunError, UndoIncompleteError.
    """
    with Reader(request.source.absolute()) as reader:
        found = await in_thread(lambda: reader.verify(_limit(context.world), context.world.settings.archive_ratio))
        run = lifecycle.new_run(context, Operation.RESTORE, request.stack, None)
        async with locked(run, recover):
            observed = await lifecycle.look(run)
            about = await in_thread(
                lambda: volume_copies.subject(run, request.volume or found.manifest.volume, observed)
            )
            engines.refuse_files(await in_thread(context.world.engine.product), about.key)
            await in_thread(lambda: volume_copies.refuse_irreplaceable(about, found, force=request.force))
            facts = await in_thread(lambda: _facts(about, observed))
            await in_thread(lambda: run.open(observed, facts))
            async with _put_back_on_failure(run, facts):
                await _replace(about, reader, found, facts, force=request.force)
                await uncancelled(close(run, RunOutcome.COMMITTED))
            await uncancelled(in_thread(lambda: volume_copies.discard(run)))
        return about, found


def _limit(world: World) -> int:
    free = world.volumes.free_bytes()
    limit = world.settings.archive_limit_bytes
    return limit if free is None else min(limit, free)


def _facts(about: Subject, observed: Observed) -> dict[str, Any]:
    """What undoes the restore, also after a crash."""
    run = about.run
    affected = rules.with_dependents(run.services, about.users)
    return {
        "services": sorted(affected & rules.running_services(observed)),
        "users": list(about.users),
        "volume": about.volume.model_dump(mode="json"),
        "image": about.image,
        "generation": about.generation.number,
        "safety": str(volume_copies.safety_copy(run)),
        "emptied": False,
    }


async def _replace(about: Subject, reader: Reader, found: Snapshot, facts: dict[str, Any], *, force: bool) -> None:
    run, name = about.run, about.volume.name
    if facts["services"]:
        await carry_out(run, lifecycle.stop_plan(run, about.observed, facts["services"]))
    run.tell(Action.STARTED, f"restore {about.key}", found.path)
    await in_thread(lambda: volume_copies.make_folder(run, Path(facts["safety"])))
    copy = await copying.interruptible(lambda stop: volume_copies.take_safety(about, Path(facts["safety"]), stop))
    if not force and copy.contents.members > 1:  # a service has written to it before it was stopped
        raise volume_copies.not_empty(about)
    await in_thread(lambda: volume_copies.note(run, {**facts, "emptied": True}))
    # Only now: an undo that knew more than the record would empty what a recovery of that undo takes for whole.
    facts["emptied"] = True
    await volume_copies.renew(run, about.volume, about.users)
    if found.manifest.kind == Kind.FILES:
        await copying.interruptible(lambda stop: volume_copies.fill(run, name, facts["image"], reader, stop))
        if found.contents.members <= 1:  # else the engine copies into it what the image has there
            await _compare(about, facts["image"], found)
    if about.users:
        await volume_copies.create(run, about.generation)
    if found.manifest.kind == Kind.FILES and found.contents.members > 1:
        await _compare(about, facts["image"], found)
    if found.manifest.kind == Kind.POSTGRES:
        await volume_copies.wake(run, about.users)
        await volume_copies.load_dump(about, reader, found)
    run.tell(Action.DONE, f"restore {about.key}", f"{name}: {found.contents.members} members, verified")
    await volume_copies.wake(run, facts["services"])


async def _compare(about: Subject, image: str, wanted: Snapshot) -> None:
    await copying.interruptible(lambda _: volume_copies.compare(about.run, about.volume, image, wanted))


async def _undo(run: Run, facts: dict[str, Any]) -> None:
    await volume_copies.put_back(run, facts)
    await close(run, RunOutcome.UNDONE)
    await in_thread(lambda: volume_copies.discard(run))


@asynccontextmanager
async def _put_back_on_failure(run: Run, facts: dict[str, Any]) -> AsyncIterator[None]:
    try:
        yield
    except BaseException as error:
        run.tell(Action.NOTICE, message="undoing")
        try:
            await uncancelled(_undo(run, facts))
        except Exception as problem:  # noqa: BLE001 - whatever it is, the undo is incomplete
            cause = "interrupted" if isinstance(error, asyncio.CancelledError) else said(error)
            raise UndoIncompleteError(
                f"{run.stack}: {cause}; the undo is incomplete: {said(problem)}",
                hint="`moorage sweep` tries again; the old content of the volume is in that file.",
                stack=run.stack,
                left=[said(problem)],
                command=f"moorage volumes restore {facts['safety']} --force --name {run.stack}",
            ) from error
        if isinstance(error, asyncio.CancelledError):
            message = f"{run.stack}: interrupted; the volume is as it was"
            raise InterruptedRunError(message, stack=run.stack, undone=True) from None
        if not isinstance(error, Exception):
            raise
        ours = error if isinstance(error, MoorageError) else named(run, error)
        fields = {**ours.fields, "stack": run.stack, "undone": True}
        raise RunError(f"{run.stack}: {said(error)}; the volume is as it was", hint=ours.hint, **fields) from error
