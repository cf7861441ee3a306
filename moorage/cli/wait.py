"""`moorage wait`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.options import Selection, known_stack_of
from moorage.cli.output import as_json, say
from moorage.cli.world import open_world
from moorage.errors import NotReadyError
from moorage.interfaces import World
from moorage.model.state import StackState, StackStatus
from moorage.work.queries.status import status

_PAUSE_S = 0.2
_LENGTH_OF_ID = 36


def wait(
    stack: str | None = None,
    *,
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
    stack
        Name of the stack, or id of a flow run; without it, the stack of the working directory.
    """
    if stack and len(stack) == _LENGTH_OF_ID:
        from moorage.cli.detached import follow
        from moorage.hub.runs import is_id

        if is_id(stack):
            return follow(stack, timeout, json=json)
    world = open_world()
    found = asyncio.run(_until_ready(world, known_stack_of(world, selection, stack), timeout))
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        from moorage.show.text import status_text

        say(status_text(found))
    return 0


async def _until_ready(world: World, stack: str, timeout_s: float) -> StackStatus:
    deadline = time.monotonic() + timeout_s
    while True:
        found = await status(world, stack)
        if found.state == StackState.RUNNING:
            return found
        if time.monotonic() >= deadline:
            waiting = [name for name, service in found.services.items() if not service.ready]
            message = (
                f"{stack}: {found.state} after {timeout_s:g} s; not ready: {', '.join(waiting) or 'no service exists'}"
            )
            raise NotReadyError(message, stack=stack, reason="timeout", hint="`moorage status` says more.")
        await asyncio.sleep(_PAUSE_S)
