"""The same runs without Prefect, for verbs that need no record of theirs when no hub answers."""

from __future__ import annotations

from typing import Any

from moorage.work.down import Ending, down, start, stop
from moorage.work.status import status
from moorage.world import open_world


async def run_directly(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run `down`, `stop` or `start` with the parameters of its flow."""
    world, stack = open_world(), parameters["stack"]
    if name == "down":
        ending = Ending(
            volumes=parameters["volumes"], release_ports=parameters["release_ports"], grace_s=parameters["timeout_s"]
        )
        await down(world, stack, ending)
        return {"stack": stack, "state": "absent"}
    if name == "stop":
        await stop(world, stack, parameters["services"], parameters["timeout_s"])
    else:
        await start(world, stack, parameters["services"])
    return (await status(world, stack)).model_dump(mode="json")
