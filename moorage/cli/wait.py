"""`moorage wait`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import Target, target_of
from moorage.cli.world import open_world
from moorage.errors import NotReadyError
from moorage.interfaces import World
from moorage.model.state import StackState, StackStatus
from moorage.work.queries.status import status

_PAUSE_S = 0.2
_LENGTH_OF_ID = 36


def wait(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    timeout: Annotated[
        float, Parameter(name=["--timeout", "-t"], help="Longest time to wait, in seconds.", show_default=True)
    ] = 60.0,
    json: Annotated[bool, Parameter(help="Print the status as JSON.")] = False,
) -> int:
    """Wait until all services of a stack are ready; exit code 5 if that does not happen in time.

    With the id of a flow run, wait until that run ends: exit code 5 if it failed, 130 if it was cancelled.

    Parameters
    ----------
    services
        Services to wait for (default: all); or the id of a flow run.
    """
    if len(services) == 1 and len(services[0]) == _LENGTH_OF_ID:
        from moorage.cli.detached import follow
        from moorage.hub.runs import is_id

        if is_id(services[0]):
            return follow(services[0], timeout, json=json)
    world = open_world()
    target = target_of(world, selection, services, stack_too=True)
    found = asyncio.run(_until_ready(world, target, timeout))
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        from moorage.show.text import status_text

        say(status_text(found))
    return 0


async def _until_ready(world: World, target: Target, timeout_s: float) -> StackStatus:
    deadline = time.monotonic() + timeout_s
    while True:
        found = await status(world, target.stack)
        waiting = [name for name in target.services or found.services if not _is_ready(found, name)]
        if not waiting if target.services else found.state == StackState.RUNNING:
            return found
        if time.monotonic() >= deadline:
            names = ", ".join(waiting) or "no service exists"
            message = f"{target.stack}: {found.state} after {timeout_s:g} s; not ready: {names}"
            raise NotReadyError(message, stack=target.stack, reason="timeout", hint="`moorage status` says more.")
        await asyncio.sleep(_PAUSE_S)


def _is_ready(found: StackStatus, service: str) -> bool:
    return service in found.services and found.services[service].ready
