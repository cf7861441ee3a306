"""`moorage open`."""

from __future__ import annotations

import asyncio
import webbrowser
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import Selection, known_stack_of
from moorage.cli.output import remark, say
from moorage.cli.world import open_world
from moorage.errors import DefinitionError, MoorageError
from moorage.model.state import BoundPort
from moorage.rules import addresses
from moorage.work.queries.logs import chosen
from moorage.work.queries.status import status

_BROWSABLE = ("http", "https")


def open(  # noqa: A001 - the verb's name
    service: ServiceName,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    port: Annotated[int | None, Parameter(help="Container port (default: the first one likely to be HTTP).")] = None,
    no_browser: Annotated[bool, Parameter(help="Only print the address.")] = False,
) -> int:
    """Open a service in the browser ($BROWSER, or else the system's default), and print its address.

    Exit code 1 if the service is not running or no browser can be started, 2 if it does not publish that port.

    Parameters
    ----------
    service
        Service to open.
    """
    world = open_world()
    name = known_stack_of(world, selection)
    found = asyncio.run(status(world, name, ask=False))
    chosen(name, [service], sorted(found.services))
    state = found.services[service].state
    if state != "running":
        hint = "`moorage up` brings the stack up."
        raise MoorageError(f"{name}: {service} is not running, it is {state}", hint=hint, service=service, state=state)
    url = _url(name, service, [one for of, one in addresses.published(found) if of == service], port)
    say(url)
    if no_browser or webbrowser.open(url):
        return 0
    remark("no browser could be started; set BROWSER to a browser")
    return 1


def _url(stack: str, service: str, ports: Sequence[BoundPort], target: int | None) -> str:
    """The address of the chosen port. Raises DefinitionError, which lists the published ports."""
    tcp = [one for one in ports if one.protocol == "tcp" and target in (None, one.target)]
    urls = [addresses.url_of(one) for one in tcp]
    if target is not None and tcp:
        scheme = urls[0].partition(":")[0]
        return addresses.url_of(tcp[0], scheme if scheme in _BROWSABLE else "http")
    if likely := [url for url in urls if url.partition(":")[0] in _BROWSABLE]:
        return likely[0]
    what = f"no port {target}" if target is not None else "no port that a browser could open"
    there = ", ".join(str(one.target) for one in ports if one.protocol == "tcp") or "none"
    hint = f"Published ports: {there}; choose one with `--port`."
    raise DefinitionError(f"{stack}: {service} publishes {what}", hint=hint, service=service)
