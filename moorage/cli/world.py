"""The world of a command: what it is told beside its own work goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

from moorage import world
from moorage.interfaces import World
from moorage.model.event import Event
from moorage.settings import Settings


def open_world(emit: Callable[[Event], None] | None = None, settings: Settings | None = None) -> World:
    """The world of this command. `emit` None: nobody listens, but what is of no stack is said."""
    return world.open_world(emit or note, settings, auth_of_hub=_auth_of_hub)


def _auth_of_hub() -> str | None:
    from moorage.hub.hub_home import hub_home

    record = hub_home().server()
    return record.auth if record else None


def note(event: Event) -> None:
    """Say what is of no stack: that the registry had to be rebuilt, most likely."""
    if not event.stack:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"note: {event.message}\n")
