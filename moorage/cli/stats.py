"""`moorage stats`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.interfaces import World
from moorage.model.usage import StackUsage
from moorage.show.usage_text import usage_text
from moorage.work.queries.usage import Meter
from moorage.work.runs.memory import learn
from moorage.work.threads import in_thread

_FIRST_LOOK_S = 0.5
_PAUSE_S = 1.0


def stats(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    everywhere: Annotated[bool, Parameter(name=["--all", "-a"], help="All stacks.")] = False,
    no_stream: Annotated[bool, Parameter(help="Measure only once, even on a terminal.")] = False,
    json: Annotated[bool, Parameter(help="Print one measurement as JSON.")] = False,
) -> int:
    """Show what services use: CPU (100 % is one core), memory against its limit, network, processes, restarts.

    On a terminal it measures once per second until Ctrl-C. Elsewhere, and with `--no-stream` or `--json`, it measures
    once (over half a second). Restarts are those made by the engine since the last start. The limit of a service
    without a limit is the machine's memory.

    Parameters
    ----------
    services
        Services to show (default: all).
    """
    world = open_world()
    if everywhere:
        stacks = [record.name for record in world.store.stacks()]
    else:
        stack, services = target_of(world, selection, services)
        stacks = [stack]
    meter = Meter(world, stacks, services)
    if json or no_stream or not sys.stdout.isatty():
        found = asyncio.run(_once(world, meter))
        if json:
            shown = [one.model_dump(mode="json") for one in found]
            as_json(shown if everywhere else shown[0])
        else:
            say(usage_text(found))
        return 0
    return _live(world, meter)


async def _once(world: World, meter: Meter) -> list[StackUsage]:
    await meter.look()
    await asyncio.sleep(_FIRST_LOOK_S)
    return await _looked(world, meter)


async def _looked(world: World, meter: Meter) -> list[StackUsage]:
    """What is seen now is known before the next start."""
    found = await meter.look()
    await in_thread(lambda: learn(world, found))
    return found


def _live(world: World, meter: Meter) -> int:
    from rich.live import Live
    from rich.text import Text

    async def go_on() -> None:
        await meter.look()
        await asyncio.sleep(_FIRST_LOOK_S)
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                live.update(
                    Text(usage_text(await _looked(world, meter)), no_wrap=True, overflow="ellipsis"), refresh=True
                )
                await asyncio.sleep(_PAUSE_S)

    asyncio.run(go_on())
    return 0
