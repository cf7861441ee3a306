"""Runs operations without Prefect, for verbs that need no flow run if no hub answers."""

from __future__ import annotations

from typing import Any

from moorage.interfaces import World
from moorage.work.operations.down import DownOptions, down, start, stop
from moorage.work.operations.heal import heal
from moorage.work.operations.restart import restart
from moorage.work.operations.sweep import Sweep, sweep
from moorage.work.queries.status import status
from moorage.work.runs.lifecycle import RestartOptions
from moorage.world import open_world


async def run_directly(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run `down`, `stop`, `start`, `restart` or `sweep` with the parameters of its flow."""
    world = open_world()
    if name == "sweep":
        found = await sweep(Sweep(world, **parameters))
        return {"findings": [one.model_dump(mode="json") for one in found]}
    if name == "down":
        return await _down(world, parameters)
    stack = parameters["stack"]
    if name == "health":
        mended = await heal(world, stack, insist=True)
        return {**mended.model_dump(mode="json"), "well": mended.well}
    if name == "stop":
        await stop(world, stack, parameters["services"], parameters["timeout_s"], force=parameters["force"])
    elif name == "restart":
        again = RestartOptions(recreate=parameters["recreate"], grace_s=parameters["timeout_s"])
        run, state = await restart(world, stack, parameters["services"], again)
        return {**state.model_dump(mode="json"), "changed": sorted(run.again)}
    else:
        await start(world, stack, parameters["services"])
    return (await status(world, stack)).model_dump(mode="json")


async def _down(world: World, parameters: dict[str, Any]) -> dict[str, Any]:
    ending = DownOptions(
        volumes=parameters["volumes"], release_ports=parameters["release_ports"], grace_s=parameters["timeout_s"]
    )
    await down(world, parameters["stack"], ending)
    return {"stack": parameters["stack"], "state": "absent"}
