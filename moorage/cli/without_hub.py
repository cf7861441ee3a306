"""Operations without Prefect, for verbs that need no flow run if no hub answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.adapters import machine
from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.fleet import FleetMember
from moorage.model.request import (
    DownRequest,
    FleetRequest,
    HealRequest,
    RestartRequest,
    StartRequest,
    StopRequest,
    SweepRequest,
)
from moorage.model.step import Plan
from moorage.rules import fleet as rules
from moorage.work.definitions.fleet import members
from moorage.work.operations.down import down
from moorage.work.operations.fleet import fleet, refuse_failures
from moorage.work.operations.heal import heal
from moorage.work.operations.restart import restart
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Approval, Context


async def run_directly(name: str, parameters: dict[str, Any], world: World) -> dict[str, Any]:
    """Run the operation of a flow with its parameters; gives what the flow would.

    Raises KeyError: it needs a hub; DefinitionError: it needs approval, which only the hub can ask for.
    """
    context = Context(world, approval=Approval(_ask_nobody))
    match name:
        case "down":
            return (await down(context, DownRequest(**parameters))).as_dict()
        case "stop":
            return (await stop(context, StopRequest(**parameters))).as_dict()
        case "start":
            return (await start(context, StartRequest(**parameters))).as_dict()
        case "restart":
            return (await restart(context, RestartRequest(**parameters))).as_dict()
        case "health":
            mended = await heal(context, HealRequest(stack=parameters["stack"], insist=True))
            return {**mended.model_dump(mode="json"), "well": mended.well}
        case "sweep":
            found = await sweep(context, SweepRequest(**parameters))
            return {"findings": [one.model_dump(mode="json") for one in found]}
        case "fleet":
            return await _fleet(context, FleetRequest(**parameters))
    raise KeyError(name)


async def _fleet(context: Context, request: FleetRequest) -> dict[str, Any]:
    """Of the verbs of a fleet only `down` needs no hub."""
    if request.sources:
        message = f"stack source {request.sources[0]!r}: the hub, which has it, does not answer"
        raise DefinitionError(message, hint="Name the directory, or start the hub with `moorage hub start`.")

    async def take_down(member: FleetMember) -> Mapping[str, Any]:
        asked = DownRequest(stack=member.stack, volumes=request.volumes, release_ports=request.release_ports)
        return (await down(context, asked)).as_dict()

    found = members(context.world, request.verb, [("", Path(path)) for path in request.paths])
    at_once = request.at_once or rules.at_once(machine.cores(), machine.free_bytes())
    rows = await fleet(context, request.verb, found, take_down, at_once)
    refuse_failures(request.verb, rows)
    return {"rows": [row.model_dump(mode="json") for row in rows]}


async def _ask_nobody(plan: Plan, _say: object) -> None:
    message = f"{plan.stack}: this needs approval, and without the hub there is nobody to ask; nothing was done"
    hint = "Start the hub with `moorage hub start` and run it again: the page of the run has *Resume*."
    raise DefinitionError(message, stack=plan.stack, hint=hint)
