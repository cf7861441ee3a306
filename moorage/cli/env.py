"""`moorage env`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, remark, say
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.rules import addresses
from moorage.show.variables_text import dotenv_text, shell_text
from moorage.work.queries.status import status


def env(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    form: Annotated[
        Literal["shell", "dotenv", "json"], Parameter(name="--format", help="Output format.", show_default=True)
    ] = "shell",
    json: Annotated[bool, Parameter(help="Same as --format json, which also groups the addresses by service.")] = False,
) -> int:
    """Print the addresses of a running stack's services as environment variables: `eval "$(moorage env)"`.

    MOORAGE_URL_BACKEND_8000, MOORAGE_HOST_…, MOORAGE_PORT_… for each published port, and MOORAGE_STACK: the same
    variables that `moorage ci` gives its command. Values are quoted for a POSIX shell, or for a dotenv file.

    Parameters
    ----------
    services
        Services whose addresses to print (default: all).
    """
    world = open_world()
    target = target_of(world, selection, services, stack_too=True)
    found = asyncio.run(status(world, target.stack, ask=False))
    if target.services:
        found = found.model_copy(update={"services": {name: found.services[name] for name in target.services}})
    variables = addresses.variables(found)
    if json or form == "json":
        as_json(addresses.as_data(found))
    else:
        say(shell_text(variables) if form == "shell" else dotenv_text(variables))
    if not any(service.ports for service in found.services.values()):
        remark(f"{found.stack} is {found.state}: nothing is published")
    return 0
