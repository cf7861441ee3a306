"""The world of a command: what it is told beside its own work goes to stderr."""

from __future__ import annotations

from collections.abc import Callable

from moorage import world
from moorage.cli.output import remark
from moorage.interfaces import World
from moorage.model.event import Event
from moorage.settings import Settings
from moorage.show.formatting import clean


def open_world(emit: Callable[[Event], None] | None = None, settings: Settings | None = None) -> World:
    """The world of this command. `emit` None: nobody listens, but what is of no stack is said."""
    return world.open_world(emit or note, settings, auth_of_hub=_auth_of_hub)


def _auth_of_hub() -> str | None:
    from moorage.hub.hub_home import hub_home

    record = hub_home().server()
    return record.auth if record else None


def note(event: Event) -> None:
    """Say what is of no stack: what cannot be read, what is waited for, that the registry had to be rebuilt."""
    if not event.stack:
        remark(f"note: {clean(event.message)}")
