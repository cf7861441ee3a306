"""`moorage scale`."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.options import LockTimeout, Selection, request_of
from moorage.cli.target import target_of, told_from_stacks
from moorage.cli.up import bring_up, replicas_now, show
from moorage.cli.world import open_world
from moorage.errors import DefinitionError
from moorage.rules.part import numbers_of
from moorage.work.definitions.resolve import resolve


def scale(
    *replicas: str,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    no_deps: Annotated[bool, Parameter(help="Do not bring up what the services need.")] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Change how many replicas of services run: `moorage scale worker=3`.

    It is an `up` of these services: all replicas become ready, or everything is undone. The numbers hold until the next
    `up`, which goes back to the definition's; other services keep theirs.

    Parameters
    ----------
    replicas
        SERVICE=NUMBER, one or more.
    """
    began = time.monotonic()
    wanted = numbers_of(replicas, "scale")
    if not wanted:
        raise DefinitionError("scale: SERVICE=NUMBER is missing", hint="Such as `moorage scale worker=3`.")
    world = open_world()
    stack = target_of(world, selection, ()).stack
    request = request_of(selection).model_copy(update={"services": tuple(wanted), "no_deps": no_deps})
    with told_from_stacks(world, wanted):
        needed = resolve(world, request).definition.services
    request = request.model_copy(update={"scale": {**replicas_now(world, stack, needed), **wanted}})
    found, idle = bring_up(request, patience.settings())
    show(found, began, json=json, idle=idle)
    return 0
