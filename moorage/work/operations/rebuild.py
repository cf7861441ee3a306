"""Rebuilds a damaged or lost registry, from generation files, the engine's labels and its ports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath

from moorage.errors import MoorageError
from moorage.interfaces import World
from moorage.model.event import Action, Event
from moorage.model.generation import Generation, GenerationOutcome, GenerationRecord
from moorage.model.lease import Lease, LeaseKey
from moorage.model.state import Container, Observed, StackRecord
from moorage.rules import labels, undo
from moorage.work.definitions import generations
from moorage.work.queries import engines

_BY = "rebuilt from its file"


def rebuild(world: World) -> None:
    """Put on record again what can be known; what is on record already stays. Says what it did, and what was lost.

    Runs, timings and the number of generations that were pruned are lost. Without an engine nothing is done, and the
    next process tries again.
    """
    aside = world.store.set_aside
    lost = f"the registry was damaged (the file is kept as {aside})" if aside else "the registry was missing"
    try:
        observed = {name: world.engine.observe(name) for name in world.engine.stacks_of(world.home)}
    except MoorageError as error:
        _say(world, f"{lost}; it cannot be rebuilt yet: {error}")
        return
    for name in world.files.folders("generations"):
        observed.setdefault(name, world.engine.observe(name))
    # Those with containers first: of two that claim a port, the one that has it gets it.
    names = sorted(observed, key=lambda name: (not observed[name].containers, name))
    stacks = [name for name in names if world.store.stack(name) is None and _put_back(world, observed[name])]
    world.store.rebuilt()
    leases = sum(len(world.store.leases(name)) for name in stacks)
    _say(world, f"{lost}; rebuilt: stacks {len(stacks)}, leases {leases}")


def _put_back(world: World, observed: Observed) -> bool:
    """One stack. False: there is nothing to know it by."""
    known = sorted(_stored(world, observed.stack), key=lambda one: one.number)
    current = _current(known, observed)
    ours = [c for c in observed.containers if labels.ours(c.labels, observed.stack, world.home)]
    if current is None and not ours:
        return False
    for one in known:
        world.store.save_generation(_generation_record(one, current))
    directory = str(current.source.directory) if current else ours[0].labels.get(labels.DIRECTORY, "")
    world.store.save_stack(
        StackRecord(
            name=observed.stack,
            path=directory,
            created_at=known[0].created_at if known else _oldest(ours, world),
            generation=current.number if current else None,
            engine=engines.of(world) if ours else None,
        )
    )
    now = world.clock.now()
    world.store.restore(undo.leases_of(current, now, None) if current else _published(world, ours))
    return True


def _stored(world: World, stack: str) -> Iterable[Generation]:
    """The generations that are on disk; a file that cannot be read is passed over."""
    for name in world.files.names(f"generations/{stack}"):
        number = PurePosixPath(name).name.removesuffix(".json")
        if number.isdigit():
            generation = generations.read(world, stack, int(number))
            if generation:
                yield generation


def _current(known: list[Generation], observed: Observed) -> Generation | None:
    """The newest generation that the containers are made from; the newest of all if they tell nothing."""
    digests = {c.service: c.digest for c in observed.containers}
    fitting = [one for one in known if digests and all(one.digests.get(s) == d for s, d in digests.items())]
    return next(reversed(fitting or known), None)


def _generation_record(generation: Generation, current: Generation | None) -> GenerationRecord:
    is_current = current is not None and generation.number == current.number
    return GenerationRecord(
        stack=generation.stack,
        number=generation.number,
        digest=generation.digest,
        created_at=generation.created_at,
        run="",
        outcome=GenerationOutcome.CURRENT if is_current else GenerationOutcome.SUPERSEDED,
        by=_BY,
    )


def _oldest(containers: list[Container], world: World) -> datetime:
    started = [c.started_at for c in containers if c.started_at]
    return min(started, default=world.clock.now())


def _published(world: World, containers: list[Container]) -> tuple[Lease, ...]:
    """Leases by what running containers publish, for a stack without generation files."""
    return tuple(
        Lease(
            key=LeaseKey(stack=c.labels[labels.STACK], service=c.service, target=p.target, protocol=p.protocol),
            port=p.published,
            host_ip=p.host_ip,
            since=world.clock.now(),
        )
        for c in containers
        for p in c.ports
        if c.number == 1
    )


def _say(world: World, message: str) -> None:
    world.emit(Event(at=world.clock.now(), stack="", action=Action.NOTICE, message=message))
