"""Events of a run as lines of its log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from prefect.context import FlowRunContext

from moorage.hub.outcome import CALLER
from moorage.interfaces import World
from moorage.model.event import Action, Event
from moorage.model.image import RegistryLogin
from moorage.settings import Settings
from moorage.settings import settings as of_process
from moorage.world import open_world

_LOGGER = logging.getLogger("moorage.run")
_LOGGER.setLevel(logging.INFO)  # Prefect gives extra loggers its handler, but not its level
_LEVELS = {Action.FAILED: logging.ERROR, Action.NOTICE: logging.WARNING, Action.RETRY: logging.WARNING}


def log(event: Event) -> None:
    """One event, one line: `start db: it does not exist yet`, then `start db: started (0.34 s)`."""
    if event.action == Action.PLANNED:  # its steps have events of their own
        return
    took = f" ({event.elapsed_s:.2f} s)" if event.elapsed_s is not None else ""
    mark = event.action if event.action in (Action.FAILED, Action.RETRY, Action.UNDONE) else ""
    words = ": ".join(part for part in (mark, event.step or event.stack, event.message) if part)
    _LOGGER.log(_LEVELS.get(event.action, logging.INFO), "%s%s", words, took)


def logging_world(
    also: Callable[[Event], None], said: Mapping[str, Any] | None = None, logins: tuple[RegistryLogin, ...] = ()
) -> World:
    """The world of a flow run: its events go to the run's log, to who called the flow in this process, and to `also`.

    `said`: settings that the run's parameters have. `logins`: what builds and pulls may use of private registries.
    """
    caller = CALLER.get()

    def emit(event: Event) -> None:
        log(event)
        if caller:
            caller.emit(event)
        also(event)

    chosen = (caller.settings if caller else None) or of_process()
    return open_world(emit, _patient(chosen.model_copy(update=dict(said or {}))), logins)


def _patient(settings: Settings) -> Settings:
    """In a worker, nobody sits waiting at a terminal: a run waits longer for another run of its stack."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return settings
    return settings.model_copy(update={"lock_timeout_s": settings.hub_lock_timeout_s})
