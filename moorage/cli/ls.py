"""`moorage ls`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.cli.world import open_world
from moorage.interfaces import World
from moorage.work.queries.status import status


def ls(*, json: Annotated[bool, Parameter(help="Print the list as JSON.")] = False) -> int:
    """List the stacks of this machine, with their state."""
    world = open_world()
    records = world.store.stacks()
    states = asyncio.run(_states(world, [record.name for record in records]))
    if json:
        as_json([{**record.model_dump(mode="json"), "state": states[record.name]} for record in records])
    else:
        from moorage.show.text import stacks_text

        say(stacks_text(records, states))
    return 0


async def _states(world: World, names: list[str]) -> dict[str, str]:
    found = await asyncio.gather(*(status(world, name, ask=False) for name in names))
    return {one.stack: one.state for one in found}
