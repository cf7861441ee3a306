"""`sweep`: removes what crashes, deleted directories and expired stacks have left behind. Touches only our objects.

Stack by stack, several at once: what one of them fails by, or waits for, stops no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from moorage.errors import BusyError, InterruptedRunError, MoorageError, said
from moorage.model.finding import Finding, Leftover
from moorage.model.request import SweepRequest
from moorage.work.operations import disk, leftovers
from moorage.work.operations.leftovers import Found, Look, Remedy, Sweep
from moorage.work.queries import engines
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.threads import in_thread, uncancelled

_AT_ONCE = 4
"""Stacks that are swept at the same time. More would only make the engine slow for those who use it."""

_IN_VAIN = "it cannot be looked at"


@foreign_errors_named()
async def sweep(context: Context, request: SweepRequest) -> list[Finding]:
    """Find what was left behind and clear it away; what could not be done, and what is left, is told in the finding.

    Raises EngineUnavailableError, HomeError: nothing can be looked at; DefinitionError: what is asked for is no size.
    """
    disk.refuse_no_size(request)
    # Nobody is waited for: what is busy now is looked at the next time.
    asked = await leftovers.surveyed(context.waiting(0.0), request)
    turns = asyncio.Semaphore(_AT_ONCE)
    each = await _all_ended(_swept(asked, stack, leftovers.LOOKS, turns) for stack in asked.stacks)
    gone = await _swept(asked, "", (*leftovers.OF_NO_STACK, disk.LOOK), turns)
    return [*asked.strays, *(finding for one in each for finding in one), *gone]


async def _all_ended(works: Iterable[Coroutine[Any, Any, list[Finding]]]) -> list[list[Finding]]:
    """What they give. A cancel is passed on to all of them, and comes out when all have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        if tasks:
            await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await uncancelled(asyncio.wait(tasks))
        raise
    return [task.result() for task in tasks]


async def _swept(asked: Sweep, stack: str, looks: tuple[Look, ...], turns: asyncio.Semaphore) -> list[Finding]:
    """One stack, look after look: what comes later goes by what the earlier ones have cleared away."""
    found: list[Finding] = []
    async with turns:
        if elsewhere := await _elsewhere(asked, stack):
            return [elsewhere]
        for look in looks:
            async for finding, remedy in _fenced(look, asked, stack):
                found.append(finding if remedy is None or asked.request.dry_run else await _tried(finding, remedy))
    return list(_without_repetition(found))


async def _elsewhere(asked: Sweep, stack: str) -> Finding | None:
    """What to say of a stack that is on another engine: here, it must not be taken for gone."""
    try:
        other = await in_thread(lambda: engines.elsewhere(asked.world, stack)) if stack else None
    except MoorageError:  # each look meets it too, and tells it
        return None
    if other is None:
        return None
    words = f"it is on the engine at {other.address}, and was not looked at"
    return Finding(kind=Leftover.STACK, stack=stack, what="on another engine", left=words)


async def _fenced(look: Look, asked: Sweep, stack: str) -> Found:
    """What one look finds; what it fails by is a finding too."""
    try:
        async for one in look.at(asked, stack):
            yield one
    except BusyError as error:
        yield Finding(kind=look.kind, stack=stack, what="not looked at", left=str(error)), None
    except Exception as error:  # noqa: BLE001 - what one thing fails by must not keep the others from being swept
        yield Finding(kind=look.kind, stack=stack, what=_IN_VAIN, error=said(error)), None


async def _tried(finding: Finding, remedy: Remedy) -> Finding:
    try:
        await remedy()
    except BusyError as error:
        return finding.model_copy(update={"left": str(error)})
    except InterruptedRunError as error:  # how a remedy takes a cancel: nothing else is begun then
        raise asyncio.CancelledError from error
    except Exception as error:  # noqa: BLE001 - the same
        return finding.model_copy(update={"error": said(error)})
    return finding.model_copy(update={"swept": True})


def _without_repetition(found: list[Finding]) -> Iterator[Finding]:
    """An engine that refuses the same call in each look is told of once a stack."""
    told: set[str] = set()
    for one in found:
        looked_in_vain = one.error is not None and one.what == _IN_VAIN
        if not looked_in_vain or one.error not in told:
            yield one
        if one.error:
            told.add(one.error)
