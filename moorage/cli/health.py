"""`moorage health`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.errors import DefinitionError
from moorage.model.health import Health


def health(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    heal: Annotated[
        bool, Parameter(help="Repair drift now, including services that automatic healing has given up.")
    ] = False,
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Run every service's check now, and compare what is running with the current generation.

    Unlike `status`, it checks each service itself instead of trusting the engine. Exit code 0: everything is ready and
    as committed; 1: something is not.

    Parameters
    ----------
    services
        Services to check (default: all).
    """
    world = open_world()
    target = target_of(world, selection, services, stack_too=True)
    name = target.stack
    if heal and target.services:
        message = "health: --heal is about a whole stack, not about services"
        raise DefinitionError(message, hint=f"`moorage restart {target.services[0]}` repairs one service.")
    if heal:
        from moorage.cli.flow_runner import run_flow

        given = run_flow("health", {"stack": name, "heal": True}, start_hub=False)
        found = Health.model_validate({key: given[key] for key in Health.model_fields})
    else:
        from moorage.work.queries.health import health as look

        found = asyncio.run(look(world, name))
    if target.services:
        found = found.of(target.services)
    if json:
        as_json({**found.model_dump(mode="json"), "well": found.well})
    else:
        from moorage.show.health_text import health_text

        say(health_text(found))
    return 0 if found.well else 1
