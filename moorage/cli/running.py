"""Running a flow in this process: hub, progress, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from moorage.cli.output import remark
from moorage.hub.address import HubAddress, find, flow_run_url
from moorage.model.event import Event

T = TypeVar("T")

_INTERRUPTED = 130


def run_flow(name: str, parameters: dict[str, Any], *, start_hub: bool) -> dict[str, Any]:
    """Run a flow and give what it returns, with the page of its run as `flow_run_url`.

    `start_hub`: start our own server if none answers; else the run is recorded only if one does. Raises what the run
    raises.
    """
    from moorage.hub.control import ensure_server
    from moorage.hub.project import load_flow, use

    address = ensure_server(remark) if start_hub else find()
    assert address is not None or not start_hub  # noqa: S101 - ensure_server gives one or raises
    if address is None:
        from moorage.cli.direct import run_directly

        return with_progress(lambda: run_directly(name, parameters))
    use(address)
    flow = load_flow(name)
    found: dict[str, Any] = with_progress(lambda: flow(**parameters))
    return {**found, "flow_run_url": url_of(address, found.get("flow_run_id"))}


def url_of(address: HubAddress, flow_run_id: Any) -> str | None:
    """The page of a flow run. None: there was none."""
    return flow_run_url(address, flow_run_id) if flow_run_id else None


def with_progress(work: Callable[[], Awaitable[T]]) -> T:
    """Do async work to its end, its events shown on stderr, signals turned into one orderly cancel."""
    from moorage.show.progress import Progress
    from moorage.world import listen

    with Progress(sys.stderr, live=sys.stderr.isatty()) as progress:
        listen(progress)
        return asyncio.run(_with_signals(work, progress))


async def _with_signals(work: Callable[[], Awaitable[T]], progress: Callable[[Event], None]) -> T:
    """The first SIGINT or SIGTERM cancels, the second is answered, the third ends at once."""
    del progress
    task = asyncio.ensure_future(work())
    calls = 0

    def interrupted() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            remark("interrupted: undoing what was done; once more to be told, a third time to end at once")
            task.cancel()
        elif calls == 2:
            remark("still undoing; once more ends at once and leaves the rest to `moorage sweep`")
        else:
            os._exit(_INTERRUPTED)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    return await task
