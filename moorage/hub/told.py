"""The worker asks for runs when the server tells of one, and besides only every few seconds.

Asking twice a second was most of what server and worker did at rest, and a run still waited for a quarter of a second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

Found = TypeVar("Found")

ASK_S = "10"
"""How often the worker asks all the same: nobody tells of runs that a schedule makes, and words can be lost."""
BEFOREHAND_S = "15"
"""How long before its time a run of a schedule is begun, to wait for it: longer than between two questions."""
_PAUSES_S = (0.0, 0.1, 0.4, 1.0)
"""Before each question, until it finds another run. The server may tell of one before its transaction has ended."""
_AGAIN_S = 5.0


async def ask_when_told(pool: str, ask: Callable[[], Awaitable[Sequence[FlowRun]]]) -> None:
    """Call `ask`, which returns the runs that it has found, when runs of the pool become due; until it is cancelled."""
    told = asyncio.Event()
    known: set[UUID] = set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_listen(pool, told))
        while True:
            await told.wait()
            told.clear()
            for pause_s in _PAUSES_S:
                await asyncio.sleep(pause_s)
                found = {run.id for run in await _tried(ask) or ()}
                before, known = known, found
                if found - before:  # one that was found before may still be about to begin
                    break


async def _listen(pool: str, told: asyncio.Event) -> None:
    while True:
        await _tried(lambda: _heard(pool, told))
        await asyncio.sleep(_AGAIN_S)


async def _heard(pool: str, told: asyncio.Event) -> None:
    """Until the connection is lost."""
    from prefect.client.orchestration import get_client
    from prefect.events.clients import get_events_subscriber
    from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

    async with get_client() as client:
        found = await client.read_work_pool(pool)
    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.Scheduled", "prefect.flow-run.AwaitingRetry"]),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{found.id}"]),
    )
    async with get_events_subscriber(filter=wanted) as events:
        told.set()  # what came before
        async for _ in events:
            told.set()


async def _tried(what: Callable[[], Awaitable[Found]]) -> Found | None:
    """Whatever happens, the worker goes on: it asks every few seconds in any case, and says then what is wrong."""
    try:
        return await what()
    except Exception as error:  # noqa: BLE001 - Prefect raises bare exceptions too, and this must not end the worker
        sys.stderr.write(f"the server cannot be heard: {type(error).__name__}: {error}\n")
        return None
