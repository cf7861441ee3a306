"""`sweep`: removes what crashes, deleted directories and expired stacks have left behind. Touches only our objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from moorage.errors import BusyError, RunError, said
from moorage.interfaces import World
from moorage.model.finding import Finding, Leftover
from moorage.model.request import DownRequest, SweepRequest
from moorage.model.state import Observed, RunRecord, StackRecord
from moorage.model.step import Operation
from moorage.rules import labels, sweeping
from moorage.work.definitions import generations
from moorage.work.operations import orphans
from moorage.work.queries.consent import wants_approval
from moorage.work.runs import lifecycle, retention
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.runs.recovery import recover
from moorage.work.runs.run import Run
from moorage.work.runs.transaction import closed_at_end, locked
from moorage.work.threads import in_thread

Remedy = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class _Sweep:
    """One sweep: what it is done with, and how."""

    context: Context
    request: SweepRequest

    @property
    def world(self) -> World:
        return self.context.world


@foreign_errors_named()
async def sweep(context: Context, request: SweepRequest) -> list[Finding]:
    """Find what was left behind and clear it away; what could not be done is told in the finding. Busy stacks wait."""
    # Nobody is waited for: what is busy now is looked at the next time.
    asked = _Sweep(context.waiting(0.0), request)
    found: list[Finding] = []
    for look in (_runs, _stacks, _process_stacks, _one_offs, _leases, _networks, _generations, _tags, _records):
        async for finding, remedy in look(asked):
            found.append(finding if request.dry_run else await _tried(finding, remedy))
    return [finding for finding in found if finding.error != _BUSY]


_BUSY = "busy"


async def _tried(finding: Finding, remedy: Remedy) -> Finding:
    try:
        await remedy()
    except BusyError:
        return finding.model_copy(update={"error": _BUSY})
    except Exception as error:  # noqa: BLE001 - what one thing fails by must not keep the others from being swept
        return finding.model_copy(update={"error": said(error)})
    return finding.model_copy(update={"swept": True})


Found = AsyncIterator[tuple[Finding, Remedy]]


async def _runs(asked: _Sweep) -> Found:
    """Runs that did not finish, and that no process is at: the lock is free."""
    world = asked.world
    for record in await in_thread(world.store.unfinished_runs):
        if await in_thread(partial(_is_busy, world, record.stack)):
            continue
        yield (
            Finding(
                kind=Leftover.RUN,
                stack=record.stack,
                what=f"{record.operation} of {record.started_at:%Y-%m-%d %H:%M:%S} (pid {record.pid})",
                flow_run_id=record.flow_run_id,
            ),
            partial(_recover, asked.context, record),
        )


def _is_busy(world: World, stack: str) -> bool:
    return world.lock(stack).held() is not None


async def _recover(context: Context, record: RunRecord) -> None:
    async with _held(context, record.stack):
        return  # taking the lock is what recovers


@asynccontextmanager
async def _held(context: Context, stack: str) -> AsyncIterator[Run]:
    """The stack's lock for a sweep. Raises BusyError at once."""
    run = lifecycle.new_run(context, Operation.SWEEP, stack, None)
    async with locked(run, recover):
        yield run


async def _stacks(asked: _Sweep) -> Found:
    """Stacks whose directory is gone, or whose time to live has passed."""
    world = asked.world
    for record in await in_thread(world.store.stacks):
        observed = await in_thread(partial(world.engine.observe, record.name))
        exists = await in_thread(Path(record.path).is_dir)
        why = sweeping.why_to_end(record, observed, directory_exists=exists, now=world.clock.now())
        if why and not await in_thread(partial(_is_busy, world, record.name)):
            guarded = await in_thread(partial(wants_approval, world, record.name))
            how = DownRequest(
                stack=record.name, volumes=asked.request.volumes and not guarded, release_ports=not guarded
            )
            kept = "" if how.volumes or not observed.volumes else f"; volumes stay: {', '.join(observed.volumes)}"
            finding = Finding(kind=Leftover.STACK, stack=record.name, what=why + kept)
            if guarded and not exists:
                yield finding, partial(_refuse, record)
            else:
                yield finding, partial(_end_stack, asked, record, how, exists=exists)


async def _refuse(record: StackRecord) -> None:
    """Raises RunError. Its time to live was part of what somebody agreed to; that its directory is gone was not."""
    message = f"what is done to it needs approval, and a sweep asks nobody: `moorage down --name {record.name}` does"
    raise RunError(message, stack=record.name)


async def _end_stack(asked: _Sweep, record: StackRecord, how: DownRequest, *, exists: bool) -> None:
    """Take it down and release its ports. Without its directory nothing of it stays but volumes, unless asked for."""
    world = asked.world
    async with _held(asked.context, record.name) as run:
        run.operation = Operation.DOWN
        planned = await lifecycle.plan_down(run, how)
        now = await in_thread(lambda: world.store.stack(record.name))
        if now != record:  # somebody was here while it was looked for: the next sweep looks again
            raise BusyError(f"{record.name} has just been changed", stack=record.name)
        async with closed_at_end(run):
            await in_thread(lambda: run.open(planned.observed, lifecycle.on_record(how)))
            await lifecycle.take_down(run, planned.plan, how)
        if not exists:
            await in_thread(lambda: generations.forget_all(world, record.name))
            await in_thread(lambda: world.store.forget_stack(record.name))
        elif not how.volumes:
            await in_thread(lambda: world.store.save_stack(record.model_copy(update={"expires_at": None})))


async def _process_stacks(asked: _Sweep) -> Found:
    """Stacks that were to live as long as a process that was killed."""
    for stack in await in_thread(lambda: orphans.orphans(asked.world)):
        finding = Finding(kind=Leftover.PROCESS_STACK, stack=stack, what="its process was killed")
        yield finding, partial(_remove_orphans, asked.world)


async def _remove_orphans(world: World) -> None:
    await orphans.remove_orphans(world)


async def _one_offs(asked: _Sweep) -> Found:
    """Containers of `moorage run` that no process attends to any more."""
    world = asked.world
    for stack in sorted(await in_thread(lambda: world.engine.stacks_of(world.home))):
        observed = await in_thread(partial(world.engine.observe, stack))
        for container in observed.one_offs:
            mark = container.labels.get(labels.RUN)
            ours = mark and labels.ours(container.labels, stack, world.home)
            if ours and not await in_thread(partial(world.compose.attends, f"{labels.RUN}={mark}")):
                finding = Finding(kind=Leftover.ONE_OFF, stack=stack, what=container.name)
                yield finding, partial(_at_once, partial(world.engine.remove, container.id, volumes=True))


async def _leases(asked: _Sweep) -> Found:
    """Leases of stacks that are neither on record, nor on the engine, nor being started."""
    world = asked.world
    lost = sweeping.without_stack(await in_thread(world.store.leases), await in_thread(lambda: _known(world)))
    for stack, leases in lost.items():
        if not await in_thread(partial(_is_busy, world, stack)):
            ports = ", ".join(str(lease.port) for lease in leases)
            yield Finding(kind=Leftover.LEASES, stack=stack, what=ports), partial(_release, asked.context, stack)


def _known(world: World) -> frozenset[str]:
    """Names of all stacks on record or on the engine."""
    return frozenset(record.name for record in world.store.stacks()) | world.engine.stacks_of(world.home)


async def _release(context: Context, stack: str) -> None:
    world = context.world
    async with _held(context, stack):
        if stack not in await in_thread(lambda: _known(world)):
            await in_thread(lambda: world.store.release([lease.key for lease in world.store.leases(stack)]))


async def _networks(asked: _Sweep) -> Found:
    """Our networks whose stack is not on record and has no containers."""
    world = asked.world
    on_record = {record.name for record in await in_thread(world.store.stacks)}
    for stack in sorted(await in_thread(lambda: world.engine.stacks_of(world.home)) - on_record):
        observed = await in_thread(partial(world.engine.observe, stack))
        ours = await in_thread(partial(_own_networks, world, observed))
        if ours and not observed.containers and not await in_thread(partial(_is_busy, world, stack)):
            finding = Finding(kind=Leftover.NETWORKS, stack=stack, what=", ".join(ours))
            yield finding, partial(_remove_networks, asked.context, stack)


def _own_networks(world: World, observed: Observed) -> tuple[str, ...]:
    owner = world.engine.owner
    return tuple(n for n in observed.networks if labels.ours(owner("network", n), observed.stack, world.home))


async def _remove_networks(context: Context, stack: str) -> None:
    world = context.world
    async with _held(context, stack):
        observed = await in_thread(lambda: world.engine.observe(stack))
        if not observed.containers and await in_thread(lambda: world.store.stack(stack)) is None:
            for name in await in_thread(lambda: _own_networks(world, observed)):
                await in_thread(partial(world.engine.remove_network, name))


async def _generations(asked: _Sweep) -> Found:
    """Generations that are more, or longer superseded, than is kept."""
    world = asked.world
    for record in await in_thread(world.store.stacks):
        numbers = await in_thread(partial(generations.surplus, world, record.name))
        if numbers and not await in_thread(partial(_is_busy, world, record.name)):
            what = ", ".join(str(number) for number in sorted(numbers))
            finding = Finding(kind=Leftover.GENERATIONS, stack=record.name, what=what)
            yield finding, partial(_prune_generations, asked.context, record.name)


async def _prune_generations(context: Context, stack: str) -> None:
    async with _held(context, stack):
        await in_thread(lambda: generations.prune(context.world, stack))


async def _tags(asked: _Sweep) -> Found:
    """Image tags that no generation of their stack uses. Of stacks on record only: a tag does not say whose it is."""
    world = asked.world
    for record in await in_thread(world.store.stacks):
        tags = await in_thread(partial(generations.superfluous_tags, world, record.name))
        if tags and not await in_thread(partial(_is_busy, world, record.name)):
            finding = Finding(kind=Leftover.IMAGE_TAGS, stack=record.name, what=", ".join(tags))
            yield finding, partial(_untag, asked.context, record.name)


async def _untag(context: Context, stack: str) -> None:
    world = context.world
    async with _held(context, stack):
        for tag in await in_thread(lambda: generations.superfluous_tags(world, stack)):
            await in_thread(partial(world.engine.untag, tag))


async def _records(asked: _Sweep) -> Found:
    """Runs, timings and failure reports that are more, or older, than is kept. No lock: they concern what has ended."""
    world = asked.world
    names = [record.name for record in await in_thread(world.store.stacks)]
    for stack in (*names, None):
        for finding, remedy in await in_thread(partial(_old_records, world, stack)):
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


async def _at_once(remedy: Callable[[], None]) -> None:
    await in_thread(remedy)
