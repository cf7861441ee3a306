"""What `sweep` looks for in one stack, and how each of these things is cleared away."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from moorage.errors import BusyError, HomeError, MoorageError, RunError, said
from moorage.interfaces import World
from moorage.model.finding import Finding, Leftover
from moorage.model.request import DownRequest, SweepRequest
from moorage.model.state import Observed, RunRecord, StackRecord
from moorage.model.step import Operation
from moorage.model.unreadable import Unreadable
from moorage.rules import labels, naming, sweeping
from moorage.rules.excerpts import quoted
from moorage.work.definitions import generations
from moorage.work.operations import orphans
from moorage.work.queries.consent import wants_approval
from moorage.work.runs import lifecycle, retention, volume_copies
from moorage.work.runs.context import Context
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.transaction import closed_at_end, locked
from moorage.work.threads import in_thread, in_thread_with_timeout

Remedy = Callable[[], Awaitable[None]]
Found = AsyncIterator[tuple[Finding, Remedy | None]]
"""Without a remedy: it is told of, and left as it is."""

_LOOK_S = 10.0
"""How long a directory may take to answer: on a network drive whose server is gone, that is for ever."""


@dataclass(frozen=True)
class Sweep:
    """One sweep: what it is done with, how, and what there was when it began."""

    context: Context
    request: SweepRequest
    records: dict[str, StackRecord]
    """Stacks on record, without those whose record cannot be read."""
    on_record: frozenset[str]
    """Names of all of them."""
    on_engine: frozenset[str]
    killed: frozenset[str]
    """Stacks whose process was killed."""
    stacks: tuple[str, ...]
    """All that are to be looked at."""
    unreadable: tuple[Unreadable, ...]
    strays: tuple[Finding, ...]
    """What belongs to no stack."""

    @property
    def world(self) -> World:
        """Its world."""
        return self.context.world


@dataclass(frozen=True)
class Look:
    """One kind of thing to look for."""

    kind: Leftover
    at: Callable[[Sweep, str], Found]


async def surveyed(context: Context, request: SweepRequest) -> Sweep:
    """What there is to look at. Raises EngineUnavailableError, HomeError."""
    return await in_thread(lambda: _surveyed(context, request))


def _surveyed(context: Context, request: SweepRequest) -> Sweep:
    world, store = context.world, context.world.store
    records = {record.name: record for record in store.stacks()}
    on_record, on_engine = store.names(), world.engine.stacks_of(world.home)
    killed, trouble = _listed("the list of stacks of killed processes", lambda: orphans.orphans(world))
    with_copies, more = _listed("the folder of snapshots", lambda: world.files.folders("snapshots"))
    unreadable = store.unreadable()
    named = {
        *(on_record | on_engine | killed | with_copies),
        *(run.stack for run in store.unfinished_runs()),
        *(lease.key.stack for lease in store.leases()),
        *(lease.stack for lease in store.subnets()),
        *(lease.stack for lease in store.addresses()),
        *(one.stack for one in unreadable if one.stack),
    }
    stacks = frozenset(name for name in named if naming.is_valid(name))
    strays = (
        *trouble,
        *more,
        *(_told(one) for one in unreadable if one.stack not in stacks),
        *(_told(_no_name(name, "an object on the engine")) for name in sorted(on_engine - stacks)),
        *(_told(_no_name(name, "a file in `temporary`")) for name in sorted(killed - stacks)),
    )
    return Sweep(
        context, request, records, on_record, on_engine, killed & stacks, tuple(sorted(stacks)), unreadable, strays
    )


def _listed(what: str, names: Callable[[], Iterable[str]]) -> tuple[frozenset[str], tuple[Finding, ...]]:
    """Names of stacks; what cannot be listed is a finding."""
    try:
        return frozenset(names()), ()
    except MoorageError as error:
        return frozenset(), (Finding(kind=Leftover.UNREADABLE, stack="", what=what, error=said(error)),)


def _no_name(name: str, of: str) -> Unreadable:
    hint = "Moorage did not make it; look at it, and remove it if nobody needs it."
    return Unreadable(where=f"{of} of stack {quoted(name)}", what="no stack can have this name", hint=hint)


def _told(one: Unreadable) -> Finding:
    return Finding(kind=Leftover.UNREADABLE, stack=one.stack, what=one.where, error=f"{one.what}. {one.hint}")


async def _unreadable(asked: Sweep, stack: str) -> Found:
    """What cannot be read of a stack: rows, containers, generations."""
    world = asked.world
    observed = await in_thread(partial(world.engine.observe, stack))
    damaged = await in_thread(partial(generations.unreadable, world, stack))
    rows = (one for one in asked.unreadable if one.stack == stack and one.run is None)
    for one in (*rows, *observed.unreadable, *damaged):
        yield _told(one), None


async def _runs(asked: Sweep, stack: str) -> Found:
    """Runs that did not finish, and that no process is at: the lock is free."""
    world = asked.world
    if await in_thread(partial(_is_busy, world, stack)):
        return
    for record in await in_thread(partial(world.store.unfinished_runs, stack)):
        yield (
            Finding(
                kind=Leftover.RUN,
                stack=stack,
                what=f"{_shown(record.operation)} of {record.started_at:%Y-%m-%d %H:%M:%S} (pid {record.pid})",
                flow_run_id=record.flow_run_id,
            ),
            partial(_recover, asked.context, stack),
        )
    for one in asked.unreadable:
        if one.stack == stack and one.run is not None:
            yield Finding(kind=Leftover.RUN, stack=stack, what=one.where), partial(_give_up, asked.context, one)


def _shown(operation: str) -> str:
    return operation if operation.isidentifier() else quoted(operation)


def _is_busy(world: World, stack: str) -> bool:
    return world.lock(stack).held() is not None


async def _recover(context: Context, stack: str) -> None:
    """Taking the lock is what recovers. Raises RunError: what is left of the run."""
    left: list[str] = []

    async def recovered(context: Context, record: RunRecord) -> list[str]:
        left.extend(await recover(context, record))
        return left

    run = lifecycle.new_run(context, Operation.SWEEP, stack, None)
    async with locked(run, recovered):
        pass
    if left:
        message = f"the recovery is incomplete: {'; '.join(left)}"
        raise RunError(message, stack=stack)


async def _give_up(context: Context, one: Unreadable) -> None:
    """Taking the lock closes it. Raises RunError: nobody can carry it on."""
    async with held(context, one.stack):
        pass
    raise RunError(f"it cannot be carried on: {one.what}. {one.hint}", stack=one.stack)


@asynccontextmanager
async def held(context: Context, stack: str) -> AsyncIterator[Run]:
    """The stack's lock for a sweep. Raises BusyError at once."""
    run = lifecycle.new_run(context, Operation.SWEEP, stack, None)
    async with locked(run, recover):
        yield run


async def _is_there(path: str) -> bool:
    """Whether a stack's directory is there. Raises HomeError: nobody can tell, so it is not gone."""
    if not Path(path).is_absolute():  # a registry that was made anew may not know it
        return True
    try:
        return await in_thread_with_timeout(partial(_is_directory, path), _LOOK_S)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except TimeoutError:
        why = f"no answer within {_LOOK_S:g} s"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    hint = "The stack is left as it is."
    raise HomeError(f"its directory {path}: {why}; the stack is left as it is", hint=hint, path=path)


def _is_directory(path: str) -> bool:
    return stat.S_ISDIR(Path(path).stat().st_mode)


async def _stacks(asked: Sweep, stack: str) -> Found:
    """Stacks whose directory is gone, or whose time to live has passed."""
    world, record = asked.world, asked.records.get(stack)
    if record is None:
        return
    observed = await in_thread(partial(world.engine.observe, stack))
    exists = await _is_there(record.path)
    wait = await in_thread(partial(_wait, asked, record, exists=exists))
    why = sweeping.why_to_end(record, observed, directory_exists=exists or wait is not None, now=world.clock.now())
    if why is None:
        if wait is not None:
            hint = f"`moorage down --name {stack}` ends it now"
            yield Finding(kind=Leftover.STACK, stack=stack, what=wait, left=hint), None
        return
    guarded = await in_thread(partial(wants_approval, world, stack))
    how = DownRequest(stack=stack, volumes=asked.request.volumes and not guarded, release_ports=not guarded)
    kept = "" if how.volumes or not observed.volumes else f"; volumes stay: {', '.join(observed.volumes)}"
    finding = Finding(kind=Leftover.STACK, stack=stack, what=why + kept)
    if await in_thread(partial(_is_busy, world, stack)):
        yield finding.model_copy(update={"left": "another run holds it"}), None
    elif guarded and not exists:
        yield finding, partial(_refuse, record)
    else:
        yield finding, partial(_end_stack, asked, record, how, exists=exists)


def _wait(asked: Sweep, record: StackRecord, *, exists: bool) -> str | None:
    """Why a stack is not ended yet although its directory is gone. None: it is there, or was gone long enough."""
    world, now = asked.world, asked.world.clock.now()
    if exists:
        if not asked.request.dry_run and world.store.missing_since(record.name, record.path):
            world.store.forget_missing(record.name)
        return None
    since = world.store.missing_since(record.name, record.path)
    if not asked.request.dry_run:
        world.store.note_missing(record.name, record.path, now)
    return sweeping.not_yet(record.path, since, world.settings.sweep_again_s, now)


async def _refuse(record: StackRecord) -> None:
    """Raises RunError. Its time to live was part of what somebody agreed to; that its directory is gone was not."""
    message = f"what is done to it needs approval, and a sweep asks nobody: `moorage down --name {record.name}` does"
    raise RunError(message, stack=record.name)


async def _end_stack(asked: Sweep, record: StackRecord, how: DownRequest, *, exists: bool) -> None:
    """Take it down and release its ports. Without its directory nothing of it stays but volumes, unless asked for."""
    world = asked.world
    async with held(asked.context, record.name) as run:
        run.operation = Operation.DOWN
        planned = await lifecycle.plan_down(run, how)
        now = await in_thread(lambda: world.store.stack(record.name))
        if now != record:  # somebody was here while it was looked for: the next sweep looks again
            raise BusyError(f"{record.name} has just been changed", stack=record.name)
        if not exists and await _is_there(record.path):
            raise BusyError("its directory is there again", stack=record.name)
        async with closed_at_end(run):
            await in_thread(lambda: run.open(planned.observed, lifecycle.on_record(how)))
            await lifecycle.take_down(run, planned.plan, how)
        if not exists:
            await in_thread(lambda: generations.forget_all(world, record.name))
            await in_thread(lambda: world.store.forget_stack(record.name))
        elif not how.volumes:
            await in_thread(lambda: world.store.save_stack(record.model_copy(update={"expires_at": None})))


async def _process_stacks(asked: Sweep, stack: str) -> Found:
    """Stacks that were to live as long as a process that was killed."""
    if stack in asked.killed:
        finding = Finding(kind=Leftover.PROCESS_STACK, stack=stack, what="its process was killed")
        yield finding, partial(_remove_orphan, asked.world, stack)


async def _remove_orphan(world: World, stack: str) -> None:
    await orphans.remove_orphan(world, stack)


async def _one_offs(asked: Sweep, stack: str) -> Found:
    """Containers of `moorage run` that no process attends to any more."""
    world = asked.world
    if stack not in asked.on_engine:
        return
    observed = await in_thread(partial(world.engine.observe, stack))
    for container in observed.one_offs:
        mark = container.labels.get(labels.RUN)
        ours = mark and labels.ours(container.labels, stack, world.home)
        if ours and not await in_thread(partial(world.compose.attends, f"{labels.RUN}={mark}")):
            finding = Finding(kind=Leftover.ONE_OFF, stack=stack, what=container.name)
            yield finding, partial(_at_once, partial(world.engine.remove, container.id, volumes=True))


async def _helpers(asked: Sweep, stack: str) -> Found:
    """What a snapshot or restore used, and an engine made after it had been given up."""
    world = asked.world
    names = await in_thread(partial(world.volumes.helpers, stack))
    if names and not await in_thread(partial(_is_busy, world, stack)):
        finding = Finding(kind=Leftover.HELPERS, stack=stack, what=", ".join(names))
        yield finding, partial(_remove_helpers, asked.context, stack)


async def _remove_helpers(context: Context, stack: str) -> None:
    async with held(context, stack):
        await in_thread(lambda: context.world.volumes.remove_helpers(stack))


async def _leases(asked: Sweep, stack: str) -> Found:
    """Leases of stacks that are neither on record, nor on the engine, nor being started."""
    world = asked.world
    if stack in asked.on_record | asked.on_engine:
        return
    ports = [str(lease.port) for lease in await in_thread(partial(world.store.leases, stack))]
    subnets = [lease.subnet for lease in await in_thread(partial(world.store.subnets, stack))]
    subnets += [lease.address for lease in await in_thread(partial(world.store.addresses, stack))]
    if (ports or subnets) and not await in_thread(partial(_is_busy, world, stack)):
        finding = Finding(kind=Leftover.LEASES, stack=stack, what=", ".join(ports + subnets))
        yield finding, partial(_release, asked.context, stack)


def _known(world: World) -> frozenset[str]:
    """Names of all stacks on record or on the engine."""
    return world.store.names() | world.engine.stacks_of(world.home)


async def _release(context: Context, stack: str) -> None:
    world = context.world
    async with held(context, stack):
        if stack not in await in_thread(lambda: _known(world)):
            await in_thread(lambda: world.store.release_all(stack))


async def _networks(asked: Sweep, stack: str) -> Found:
    """Our networks whose stack is not on record and has no containers."""
    world = asked.world
    if stack in asked.on_record or stack not in asked.on_engine:
        return
    observed = await in_thread(partial(world.engine.observe, stack))
    ours = await in_thread(partial(_own_networks, world, observed))
    empty = not observed.containers and not observed.unreadable
    if ours and empty and not await in_thread(partial(_is_busy, world, stack)):
        finding = Finding(kind=Leftover.NETWORKS, stack=stack, what=", ".join(ours))
        yield finding, partial(_remove_networks, asked.context, stack)


def _own_networks(world: World, observed: Observed) -> tuple[str, ...]:
    owner = world.engine.owner
    return tuple(n for n in observed.networks if labels.ours(owner("network", n), observed.stack, world.home))


async def _remove_networks(context: Context, stack: str) -> None:
    world = context.world
    async with held(context, stack):
        observed = await in_thread(lambda: world.engine.observe(stack))
        empty = not observed.containers and not observed.unreadable
        if empty and stack not in await in_thread(world.store.names):
            for name in await in_thread(lambda: _own_networks(world, observed)):
                await in_thread(partial(world.engine.remove_network, name))


async def _generations(asked: Sweep, stack: str) -> Found:
    """Generations that are more, or longer superseded, than is kept; and files of those that are forgotten."""
    world = asked.world
    if stack not in asked.records:
        return
    numbers = set(await in_thread(partial(generations.surplus, world, stack)))
    numbers |= set((await in_thread(partial(generations.strays, world, stack))).values())
    if numbers and not await in_thread(partial(_is_busy, world, stack)):
        what = ", ".join(str(number) for number in sorted(numbers))
        finding = Finding(kind=Leftover.GENERATIONS, stack=stack, what=what)
        yield finding, partial(_prune_generations, asked.context, stack)


async def _prune_generations(context: Context, stack: str) -> None:
    async with held(context, stack):
        await in_thread(lambda: generations.prune(context.world, stack))


async def _tags(asked: Sweep, stack: str) -> Found:
    """Image tags that no generation of their stack uses. Of stacks on record only: a tag does not say whose it is."""
    world = asked.world
    if stack not in asked.records:
        return
    tags = await in_thread(partial(generations.superfluous_tags, world, stack))
    if tags and not await in_thread(partial(_is_busy, world, stack)):
        finding = Finding(kind=Leftover.IMAGE_TAGS, stack=stack, what=", ".join(tags))
        yield finding, partial(_untag, asked.context, stack)


async def _untag(context: Context, stack: str) -> None:
    world = context.world
    async with held(context, stack):
        for tag in await in_thread(lambda: generations.superfluous_tags(world, stack)):
            await in_thread(partial(world.engine.untag, tag))


async def _copies(asked: Sweep, stack: str) -> Found:
    """What restores have kept of volumes, and that a crash has left behind when they had ended."""
    names = await in_thread(partial(volume_copies.needless_copies, asked.world, stack))
    if names and not await in_thread(partial(_is_busy, asked.world, stack)):
        finding = Finding(kind=Leftover.COPIES, stack=stack, what=", ".join(Path(name).name for name in names))
        yield finding, partial(_remove_copies, asked.context, stack)


async def _remove_copies(context: Context, stack: str) -> None:
    world = context.world
    async with held(context, stack):
        for name in await in_thread(lambda: volume_copies.needless_copies(world, stack)):
            await in_thread(partial(world.files.remove, name))


async def _records(asked: Sweep, stack: str) -> Found:
    """Runs, timings and failure reports that are more, or older, than is kept. No lock: they concern what has ended."""
    if stack in asked.records:
        async for one in _too_old(asked, stack):
            yield one


async def _records_of_gone(asked: Sweep, _stack: str) -> Found:
    """The same of stacks that are gone, all together."""
    async for one in _too_old(asked, None):
        yield one


async def _too_old(asked: Sweep, stack: str | None) -> Found:
    for finding, remedy in await in_thread(partial(_old_records, asked.world, stack)):
        yield finding, partial(_at_once, remedy)


def _old_records(world: World, stack: str | None) -> list[tuple[Finding, Callable[[], None]]]:
    """Of one stack. None: of all that are not on record."""
    whose = "" if stack else " of stacks that are gone"
    runs, reports = retention.surplus_runs(world, stack), retention.surplus_reports(world, stack)
    timings = retention.old_timings(world, stack) if stack else 0
    found = (
        (Leftover.RUNS, len(runs), partial(retention.forget_runs, world, runs)),
        (Leftover.TIMINGS, timings, partial(retention.forget_timings, world, stack or "")),
        (Leftover.REPORTS, len(reports), partial(retention.remove_reports, world, reports)),
    )
    return [
        (Finding(kind=kind, stack=stack or "", what=f"{number}{whose}"), remedy)
        for kind, number, remedy in found
        if number
    ]


async def _unfinished(asked: Sweep, _stack: str) -> Found:
    """What writes that were killed have left in Moorage's home, whatever stack it was about."""
    world = asked.world
    if names := tuple(await in_thread(world.files.unfinished)):
        finding = Finding(kind=Leftover.UNFINISHED, stack="", what=str(len(names)))
        yield finding, partial(_at_once, partial(_remove, world, names))


def _remove(world: World, names: Iterable[str]) -> None:
    for name in names:
        world.files.remove(name)


async def _at_once(remedy: Callable[[], None]) -> None:
    await in_thread(remedy)


LOOKS = (
    Look(Leftover.UNREADABLE, _unreadable),
    Look(Leftover.RUN, _runs),
    Look(Leftover.STACK, _stacks),
    Look(Leftover.PROCESS_STACK, _process_stacks),
    Look(Leftover.ONE_OFF, _one_offs),
    Look(Leftover.HELPERS, _helpers),
    Look(Leftover.LEASES, _leases),
    Look(Leftover.NETWORKS, _networks),
    Look(Leftover.GENERATIONS, _generations),
    Look(Leftover.IMAGE_TAGS, _tags),
    Look(Leftover.COPIES, _copies),
    Look(Leftover.RUNS, _records),
)
"""In this order: a run is brought to its end before anything else of its stack is judged."""
OF_NO_STACK = (Look(Leftover.RUNS, _records_of_gone), Look(Leftover.UNFINISHED, _unfinished))
