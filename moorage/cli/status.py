"""`moorage status`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.work.queries.status import status as look


def status(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the status as JSON.")] = False,
) -> int:
    """Show the state of a stack: what the engine reports, and whether services are ready.

    Parameters
    ----------
    services
        Services to show (default: all).
    """
    world = open_world()
    target = target_of(world, selection, services, stack_too=True, absent=True)
    found = asyncio.run(look(world, target.stack))
    if target.services:
        found = found.model_copy(update={"services": {name: found.services[name] for name in target.services}})
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        from moorage.show.text import status_text

        say(status_text(found))
    return 0
