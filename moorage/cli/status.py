"""`moorage status`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.options import Selection, stack_of
from moorage.cli.output import as_json, say
from moorage.cli.world import open_world
from moorage.work.queries.status import status as look


def status(
    stack: str | None = None,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the status as JSON.")] = False,
) -> int:
    """Show the state of a stack: what the engine reports, and whether services are ready.

    Parameters
    ----------
    stack
        Name of the stack; without it, the stack of the working directory.
    """
    world = open_world()
    found = asyncio.run(look(world, stack_of(world, selection, stack)))
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        from moorage.show.text import status_text

        say(status_text(found))
    return 0
