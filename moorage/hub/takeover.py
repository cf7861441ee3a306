"""Replacing a server that an earlier version of Moorage has started: anybody on the machine may use that one."""

from __future__ import annotations

from collections.abc import Callable

from moorage.hub import draining, server
from moorage.hub.address import find
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome


def is_open_to_all(address: HubAddress) -> bool:
    """True if the server is ours and asks for no secret."""
    return address.managed and not address.auth


def take_over(folder: HubHome, on_line: Callable[[str], None]) -> None:
    """End such a server, unless runs are under way: then say so. Call this with the hub's lock held, then start one.

    Raises HubError.
    """
    address = find()
    if address is None or not is_open_to_all(address):
        return
    begun = "the hub was started by an earlier version of Moorage, and anybody on this machine may use it"
    if names := draining.recorded(address):
        runs = ", ".join(names)
        on_line(f"{begun}; the first `moorage hub start` after the end of {runs} replaces it, `moorage hub stop` now")
        return
    on_line(f"{begun}; replacing it")
    server.end_to_replace(folder)
