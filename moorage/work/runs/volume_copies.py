"""Copies a stack's volumes into snapshots, and back. The caller holds the stack's lock."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from moorage.errors import (
    ArchiveError,
    DefinitionError,
    EngineError,
    EngineUnavailableError,
    HomeError,
    MoorageError,
    UndoIncompleteError,
    said,
)
from moorage.interfaces import World
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.state import Observed, RunOutcome, RunRecord
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.model.volume import Contents, Kind, Manifest, Snapshot, Volume
from moorage.rules import labels, planning, undo
from moorage.rules import volumes as rules
from moorage.work.definitions import generations
from moorage.work.runs.removal import remove_unasked
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.threads import in_thread
from moorage.work.volumes import archive, postgres, tar
from moorage.work.volumes.archive import Reader, Writer
from moorage.work.volumes.copying import _Stopped, content_of, is_empty, read, until

_FILLINGS = 3
"""So often a volume is filled again that was deleted meanwhile."""


@dataclass
class Subject:
    """A volume of a stack, with what has to be known to read or replace it."""

    run: Run
    generation: Generation
    key: str
    volume: Volume
    observed: Observed

    @property
    def users(self) -> tuple[str, ...]:
        """Services that mount it now."""
        return tuple(sorted({user.service for user in self.volume.users}))

    @property
    def running(self) -> tuple[str, ...]:
        """Those of them that run."""
        return tuple(sorted({user.service for user in self.volume.users if user.running}))

    @property
    def image(self) -> str:
        """An image that is there: of a service that mounts the volume, else any of the stack."""
        for container in self.observed.containers:
            if container.service in self.users:
                return container.image_id
        names = [*rules.services_on(self.generation, self.key), *self.generation.images]
        return next(self.generation.images[name].tag for name in names if name in self.generation.images)


def subject(run: Run, wanted: str, observed: Observed) -> Subject:
    """Find the volume. Raises DefinitionError: there is none, or others use it."""
    world, stack = run.world, run.stack
    generation = generations.current(world, stack)
    if generation is None:
        raise DefinitionError(f"{stack}: nothing was committed yet", hint="Run `moorage up` first.", stack=stack)
    key, name = rules.choose(stack, wanted, rules.names_of(generation))
    found = world.volumes.find(name)
    if found is None:
        raise DefinitionError(f"{stack}: volume {name} does not exist", hint="`moorage up` creates it.", volume=name)
    if others := sorted(user.name for user in found.users if user.stack != stack and user.running):
        message = f"{stack}: volume {name} is used by {', '.join(others)} outside this stack"
        raise DefinitionError(message, hint="Stop them first.", stack=stack, volume=name)
    return Subject(run, generation, key, found, observed)


def _manifest(about: Subject, kind: Kind, databases: tuple[str, ...] = ()) -> Manifest:
    service = next(iter(about.users or rules.services_on(about.generation, about.key)), "")
    image = about.generation.images.get(service)
    return Manifest(
        kind=kind,
        stack=about.run.stack,
        volume=about.key,
        service=service,
        image=image.reference if image else "",
        created_at=about.run.world.clock.now(),
        databases=databases,
    )


def take_files(about: Subject, target: Path, force: bool, stop: threading.Event) -> Snapshot:
    """Write all files of a volume into a snapshot. Raises ArchiveError, EngineError, OSError."""
    world = about.run.world
    with Writer(target, _manifest(about, Kind.FILES), run=about.run.id, force=force) as writer:
        with closing(read(world, about.volume.name, about.image, about.run.stack)) as stream:
            for info, content in tar.members(tar.stream_of(until(stop, stream))):
                writer.add(info, content)
        return writer.finish()


def take_dump(about: Subject, target: Path, force: bool, stop: threading.Event) -> Snapshot:
    """Write what the PostgreSQL that runs on a volume dumps. Raises ArchiveError, EngineError, OSError."""
    world = about.run.world
    container = next(user.container for user in about.volume.users if user.running)
    try:
        names = postgres.databases(world, container)
        with Writer(target, _manifest(about, Kind.POSTGRES, names), run=about.run.id, force=force) as writer:
            postgres.dump(world, container, names, writer)
            if stop.is_set():
                raise _Stopped
            return writer.finish()
    except EngineError as error:
        error.hint = error.hint or "`--files` stops it and copies its files instead."
        raise


async def wake(run: Run, names: Iterable[str]) -> None:
    """Start services again that were stopped for a while, in order, and wait until they are ready."""
    plan = planning.start_plan(run.stack, Operation.START, run.services, names, frozenset())
    await carry_out(run, plan)


async def tidy_up(run: Run, unfinished: Any, of: str) -> None:
    """What a snapshot that was cut off, run `of`, has left: its container, and the file that is not whole.

    Raises ArchiveError for a path in its record that cannot be that file: nothing else is removed.
    """
    await in_thread(lambda: run.world.volumes.remove_helpers(run.stack))
    if unfinished:
        await in_thread(lambda: archive.remove_unfinished(unfinished, of))


def refuse_irreplaceable(about: Subject, snapshot: Snapshot, *, force: bool) -> None:
    """Raises ArchiveError, DefinitionError: the volume must not or cannot be replaced."""
    run, world, name = about.run, about.run.world, about.volume.name
    if not rules.ours(about.volume, world.home) or about.volume.stack != run.stack:
        raise _not_ours(run, name)
    if strangers := sorted(user.name for user in about.volume.users if user.stack != run.stack):
        message = f"{run.stack}: {', '.join(strangers)}, outside this stack, mount volume {name}"
        raise DefinitionError(message, hint="Remove them first.", stack=run.stack, volume=name)
    if snapshot.manifest.kind == Kind.POSTGRES:
        way = rules.way(run.services, about.users, running=bool(about.running))
        if way != Kind.POSTGRES:
            message = f"{run.stack}: {snapshot.path} is a PostgreSQL dump, but no PostgreSQL runs on volume {name}"
            raise DefinitionError(
                message, hint="Run `moorage up` first: a dump is loaded through a server.", volume=name
            )
    _refuse_anonymous(about)
    if not force and not is_empty(world, name, about.image, run.stack):
        raise not_empty(about)


def _not_ours(run: Run, name: str) -> DefinitionError:
    message = f"{run.stack}: volume {name} does not belong to this stack"
    return DefinitionError(message, hint="Only volumes that a stack has created itself are replaced.", volume=name)


def not_empty(about: Subject) -> ArchiveError:
    """What a volume holds is replaced only by those who say so."""
    return ArchiveError(
        f"{about.run.stack}: volume {about.volume.name} is not empty",
        hint="--force replaces its content.",
        reason="not empty",
        volume=about.volume.name,
    )


def _refuse_anonymous(about: Subject) -> None:
    """The containers are re-created, so files that they keep in unnamed volumes would be lost."""
    named = {*rules.names_of(about.generation).values(), about.volume.name}
    mine = {user.container: user.service for user in about.volume.users}
    for other in about.run.world.volumes.all() if mine else ():
        for user in other.users:
            if user.container in mine and other.name not in named and not other.key:
                where = f"services.{user.service}"
                message = f"{where}: it also stores files in an anonymous volume, which would be lost"
                raise DefinitionError(
                    message, hint="Give that volume a name in the compose file.", service=user.service
                )


async def renew(run: Run, volume: Volume, services: Sequence[str]) -> None:
    """Remove the containers on a volume, and the volume; make it again, empty. `services`: who mounts it.

    Raises DefinitionError: it is somebody else's. One without labels the engine has made for our containers.
    """
    world = run.world
    found = await in_thread(lambda: world.volumes.find(volume.name))
    if found and found.labels and not (rules.ours(found, world.home) and found.stack == run.stack):
        raise _not_ours(run, volume.name)
    observed = await in_thread(lambda: world.engine.observe(run.stack))
    mine = [c for c in observed.containers if c.service in services and labels.ours(c.labels, run.stack, world.home)]

    def call() -> None:
        for container in mine:
            if container.state == "running":
                world.engine.stop(container.id, world.settings.undo_grace_s)
            world.engine.remove(container.id, volumes=False)
        world.volumes.remove_helpers(run.stack)
        world.engine.remove_volume(volume.name)
        world.volumes.make(volume)

    await in_thread(call)


async def create(run: Run, generation: Generation) -> None:
    """Have Compose create what is missing of what there was when the run began."""
    run.generation = generation
    had = undo.had_containers(run.record) if run.record else frozenset(run.services)
    run.recreated = (had & set(run.services), False)
    step = Step(kind=StepKind.CREATE, why="its volume was replaced")
    await carry_out(run, Plan(stack=run.stack, operation=run.operation, steps=(step,)))
    await remove_unasked(run, set(run.services) - had)


def fill(run: Run, volume: str, image: str, reader: Reader, stop: threading.Event) -> None:
    """Unpack a verified snapshot into an empty volume. Raises ArchiveError, EngineError."""
    found = ((info, content) for info, content in reader.members())
    run.world.volumes.write(volume, image, run.stack, until(stop, tar.packed(found)))


def compare(run: Run, volume: Volume, image: str, wanted: Snapshot) -> None:
    """Read what was written, best when containers hold the volume: then nothing can delete it any more.

    A deletion that the engine did not answer may be done long after Moorage has given it up. Raises ArchiveError.
    """
    found = run.world.volumes.find(volume.name)
    now = content_of(run.world, volume.name, image, run.stack) if found else None
    if not found or not now or found.labels != volume.labels or not _same(now, wanted.contents):
        message = f"volume {volume.name}: the content written differs from {wanted.path}"
        raise ArchiveError(
            message, reason="not as written", **(now.model_dump(include={"members", "bytes"}) if now else {})
        )


def safety_copy(run: Run) -> Path:
    """Where a restore keeps what was in the volume, until it is closed."""
    return own_folder(run) / rules.copy_name(run.id)


def own_folder(run: Run) -> Path:
    """Where the stack's snapshots are, if nobody says otherwise. It may not be there yet."""
    return run.world.settings.home.expanduser().absolute() / "snapshots" / run.stack


def make_folder(run: Run, target: Path) -> None:
    """Make the stack's own folder for a file there, the way all folders of the home are made."""
    # By what the file is written to first: where that is left, it is removed with it.
    run.world.files.write(f"snapshots/{run.stack}/{archive.unfinished(target, run.id).name}", "")


def take_safety(about: Subject, safety: Path, stop: threading.Event) -> Snapshot:
    """Copy a volume whose services rest, and read the copy: nothing is emptied before it can be put back from there.

    Raises ArchiveError, EngineError, OSError.
    """
    written = take_files(about, safety, True, stop)
    with Reader(safety) as reader:
        found = reader.verify()
    if not _same(found.contents, written.contents):
        raise ArchiveError(f"{safety}: what is read is not what was written", reason="damaged", path=str(safety))
    return found


def note(run: Run, facts: dict[str, Any]) -> None:
    """Write down how far a restore, or the undo of one, has got."""
    assert run.record is not None  # noqa: S101 - written down before
    run.rewrite(arguments=dict(facts))


async def put_back(run: Run, facts: dict[str, Any]) -> None:
    """Undo a restore by what its record says and what is there: the content as before, the services running again.

    The caller closes the record, and discards the copy only then. Raises UndoIncompleteError: the content is not back,
    and the copy is still needed; EngineUnavailableError.
    """
    try:
        await in_thread(lambda: run.world.compose.end_strays(run.stack))
        generation = await in_thread(lambda: generations.read(run.world, run.stack, facts["generation"]))
        if generation:
            await in_thread(lambda: run.know(generation))
        await in_thread(lambda: run.world.volumes.remove_helpers(run.stack))
        if facts.get("emptied"):
            await _content_back(run, facts, generation)
    except EngineUnavailableError:
        raise
    except Exception as error:
        if not facts.get("emptied"):
            raise
        raise await in_thread(partial(_not_back, run, facts, error)) from error
    if facts.get("emptied"):
        # Written down before the services run: what they write from now on must not be replaced again.
        facts |= {"emptied": False, "renewed": True}
        await in_thread(lambda: note(run, facts))
    if facts.get("renewed") and generation and facts["users"]:
        await create(run, generation)
    await wake(run, facts["services"])


async def _content_back(run: Run, facts: dict[str, Any], generation: Generation | None) -> None:
    """Fill the volume until it is seen to hold what it did before, once its containers keep it from being deleted."""
    volume, safety, users = Volume.model_validate(facts["volume"]), Path(facts["safety"]), facts["users"]
    if facts.get("empty") and not await in_thread(safety.exists):  # an earlier version took no copy of an empty volume
        await renew(run, volume, users)
        return
    with Reader(safety) as reader:
        wanted = await in_thread(reader.verify)
        for _ in range(_FILLINGS):
            if not await in_thread(lambda: _holds(run, volume, facts["image"], wanted)):
                await renew(run, volume, users)
                await in_thread(lambda: fill(run, volume.name, facts["image"], reader, threading.Event()))
            if generation and users:
                await _created(run, generation)
            # Into an empty volume the engine copies what the image has there.
            if wanted.contents.members <= 1 or await in_thread(lambda: _holds(run, volume, facts["image"], wanted)):
                return
    message = f"what is in it differs from {safety} again and again"
    raise ArchiveError(message, reason="not as written", path=str(safety))


async def _created(run: Run, generation: Generation) -> None:
    """So that containers hold the volume. What keeps them from being created is told when the content is safe."""
    try:
        await create(run, generation)
    except EngineUnavailableError:
        raise
    except MoorageError as error:
        run.tell(Action.NOTICE, message=said(error))


def _not_back(run: Run, facts: dict[str, Any], error: Exception) -> UndoIncompleteError:
    volume, safety = Volume.model_validate(facts["volume"]).name, Path(facts["safety"])
    lost = _is_gone(safety) or (isinstance(error, ArchiveError) and error.fields.get("reason") == "damaged")
    there = "It is left as it is" if lost else f"That is in {safety}, and is put back by the next command"
    return UndoIncompleteError(
        f"{run.stack}: volume {volume} has not got back what was in it: {said(error)}",
        hint=f"{there}.",
        stack=run.stack,
        left=[f"volume {volume}"],
        command="moorage sweep",
        lost=lost,
    )


def _is_gone(file: Path) -> bool:
    """False too where nobody can tell: what is behind a folder that cannot be opened now is not lost."""
    try:
        return not file.exists()
    except OSError:
        return False


def _holds(run: Run, volume: Volume, image: str, wanted: Snapshot) -> bool:
    """True: the volume was not emptied after all, or has been filled again. What runs on it has changed it."""
    found = run.world.volumes.find(volume.name)
    if found is None or any(user.running for user in found.users):
        return False
    try:
        compare(run, volume, image, wanted)
    except ArchiveError:  # or half of another snapshot
        return False
    return True


def _same(one: Contents, other: Contents) -> bool:
    return (one.members, one.bytes, one.digest) == (other.members, other.bytes, other.digest)


def discard(run: Run) -> None:
    """What was in a volume before is not needed any more. The run is closed: nothing may make it fail.

    By the run's own name for the copy, not by what is on record: others may have written that.
    """
    safety = safety_copy(run)
    try:
        archive.discard(safety, run.id)
    except Exception as error:  # noqa: BLE001 - whatever it is
        run.tell(Action.NOTICE, message=f"{safety} is still there, until the next sweep: {said(error)}")


def needless_copies(world: World, stack: str) -> list[str]:
    """Files of restores that have ended, which a crash has left behind: names in the home.

    Not those of a run that is not on record, or cannot be read: what is in them may be nowhere else.
    """
    names = [(name, rules.restored_by(name)) for name in world.files.names(f"snapshots/{stack}")]
    return [name for name, run in names if run and _is_over(world, run)]


def _is_over(world: World, run: str) -> bool:
    record: RunRecord | None = None
    with suppress(HomeError):
        record = world.store.run(run)
    if record is None or record.finished_at is None:
        return False
    return record.outcome == RunOutcome.COMMITTED or not record.arguments.get("emptied")


async def load_dump(about: Subject, reader: Reader, snapshot: Snapshot) -> None:
    """Load a dump into the PostgreSQL that runs on a volume. Raises EngineError, RunError."""
    world, run = about.run.world, about.run
    service = about.users[0]

    def call() -> None:
        container = world.engine.containers(run.stack, service)[0]
        postgres.load(world, container.id, reader, snapshot.manifest)

    run.tell(Action.STARTED, f"load {service}", ", ".join(snapshot.manifest.databases), service=service)
    await in_thread(call)


async def close(run: Run, outcome: RunOutcome) -> None:
    """The run has ended."""
    await in_thread(lambda: run.close(outcome))
