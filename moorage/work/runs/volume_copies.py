"""Copies a stack's volumes into snapshots, and back. The caller holds the stack's lock."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.errors import (
    ArchiveError,
    DefinitionError,
    EngineError,
    said,
)
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.state import Observed, RunOutcome
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.model.volume import Kind, Manifest, Snapshot, Volume
from moorage.rules import labels, planning
from moorage.rules import volumes as rules
from moorage.work.definitions import generations
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.threads import in_thread
from moorage.work.volumes import archive, postgres, tar
from moorage.work.volumes.archive import Reader, Writer
from moorage.work.volumes.copying import _Stopped, content_of, is_empty, until


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
        stream = until(stop, world.volumes.read(about.volume.name, about.image, about.run.stack))
        for info, content in tar.members(tar.stream_of(stream)):
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


async def tidy_up(run: Run, unfinished: str | None) -> None:
    """What a snapshot that was cut off has left: its container, and the file that is not whole."""
    await in_thread(lambda: run.world.volumes.remove_helpers(run.stack))
    if unfinished:
        await in_thread(lambda: Path(unfinished).unlink(missing_ok=True))


def refuse_irreplaceable(about: Subject, snapshot: Snapshot, *, force: bool) -> bool:
    """Whether the volume is empty. Raises ArchiveError, DefinitionError: it must not or cannot be replaced."""
    run, world, name = about.run, about.run.world, about.volume.name
    if not rules.ours(about.volume, world.home) or about.volume.stack != run.stack:
        message = f"{run.stack}: volume {name} does not belong to this stack"
        raise DefinitionError(message, hint="Only volumes that a stack has created itself are replaced.", volume=name)
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
    empty = is_empty(world, name, about.image, run.stack)
    if not empty and not force:
        raise ArchiveError(
            f"{run.stack}: volume {name} is not empty",
            hint="--force replaces its content.",
            reason="not empty",
            volume=name,
        )
    return empty


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
    """Remove the containers on a volume, and the volume; make it again, empty. `services`: who mounts it."""
    world = run.world
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
    """Have Compose create what is missing of a generation."""
    run.generation = generation
    step = Step(kind=StepKind.CREATE, why="its volume was replaced")
    await carry_out(run, Plan(stack=run.stack, operation=run.operation, steps=(step,)))


def fill(run: Run, volume: str, image: str, reader: Reader, snapshot: Snapshot, stop: threading.Event) -> None:
    """Unpack a verified snapshot into an empty volume, and compare. Raises ArchiveError, EngineError."""
    world = run.world
    found = ((info, content) for info, content in reader.members())
    world.volumes.write(volume, image, run.stack, until(stop, tar.packed(found)))
    now, then = content_of(world, volume, image, run.stack), snapshot.contents
    if (now.members, now.bytes, now.digest) != (then.members, then.bytes, then.digest):
        message = f"volume {volume}: the content written differs from {snapshot.path}"
        raise ArchiveError(message, reason="not as written", members=now.members, bytes=now.bytes)


async def put_back(run: Run, facts: dict[str, Any], outcome: RunOutcome) -> None:
    """Undo a restore by what its record says: the content as it was before, the services running again; close it.

    What was in the volume is discarded only when the record is closed: one that is open is put back from it again.
    """
    await in_thread(lambda: run.world.volumes.remove_helpers(run.stack))
    safety = Path(facts["safety"])
    generation = await in_thread(lambda: generations.read(run.world, run.stack, facts["generation"]))
    if generation:
        await in_thread(lambda: run.know(generation))
    if facts.get("emptied"):
        volume = Volume.model_validate(facts["volume"])
        if not facts["empty"]:
            await in_thread(lambda: _require(safety, volume.name))
        await renew(run, volume, facts["users"])
        if not facts["empty"]:
            await in_thread(lambda: _fill_again(run, volume.name, facts["image"], safety))
        if generation and facts["users"]:
            await create(run, generation)
    await wake(run, facts["services"])
    await close(run, outcome)
    await in_thread(lambda: discard(run, safety))


def _require(safety: Path, volume: str) -> None:
    """Raises ArchiveError, before anything is removed: what was in the volume is nowhere else."""
    if not safety.exists():
        message = f"{safety}: it is gone; volume {volume} is left as it is"
        raise ArchiveError(message, reason="missing", path=str(safety))


def discard(run: Run, safety: Path) -> None:
    """What was in a volume before is not needed any more. The run is closed: nothing may make it fail."""
    try:
        archive.discard(safety, run.id)
    except Exception as error:  # noqa: BLE001 - whatever it is
        run.tell(Action.NOTICE, message=f"{safety} is still there: {said(error)}")


def _fill_again(run: Run, volume: str, image: str, safety: Path) -> None:
    with Reader(safety) as reader:
        fill(run, volume, image, reader, reader.verify(), threading.Event())


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
