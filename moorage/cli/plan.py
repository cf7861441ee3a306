"""`moorage plan`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection, request_of
from moorage.cli.output import as_json, say
from moorage.cli.target import told_from_stacks
from moorage.cli.world import open_world
from moorage.rules.part import numbers_of
from moorage.work.definitions.resolve import resolve
from moorage.work.queries.plan import plan_up


def plan(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    strict_ports: Annotated[bool, Parameter(help="Fail if a wanted port is taken.")] = False,
    build: Annotated[bool, Parameter(help="Plan to build images even if nothing changed.")] = False,
    force_recreate: Annotated[bool, Parameter(help="Plan to re-create all containers.")] = False,
    no_deps: Annotated[bool, Parameter(help="Plan only the named services, not what they need.")] = False,
    scale: Annotated[
        tuple[str, ...], Parameter(help="SERVICE=NUMBER: its number of replicas; may be given several times.")
    ] = (),
    json: Annotated[bool, Parameter(help="Print the plan as JSON.")] = False,
) -> int:
    """Show what `up` would do, step by step, and how each step would be undone. Changes nothing.

    Parameters
    ----------
    services
        Services that `up` would be asked for (default: all).
    """
    request = request_of(selection).model_copy(
        update={
            "services": tuple(dict.fromkeys(services)),
            "no_deps": no_deps,
            "scale": numbers_of(scale, "--scale"),
            "strict_ports": strict_ports,
            "build": build,
            "force_recreate": force_recreate,
        }
    )
    world = open_world()
    with told_from_stacks(world, request.services):
        steps = asyncio.run(plan_up(world, resolve(world, request))).plan
    if json:
        as_json(
            {**steps.model_dump(mode="json"), "steps": [{"id": s.id, **s.model_dump(mode="json")} for s in steps.steps]}
        )
    else:
        from moorage.show.text import plan_text

        say(plan_text(steps))
    return 0
