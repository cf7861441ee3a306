"""An event: one record; log line, progress, artifact and JSON are views of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from moorage.model.base import Frozen


class Action(StrEnum):
    """What happened to a step."""

    STARTED = "started"
    PROGRESS = "progress"
    DONE = "done"
    SKIPPED = "skipped"
    """Checked again, and found already done."""
    RETRY = "retry"
    FAILED = "failed"
    UNDONE = "undone"
    NOTICE = "notice"
    PLANNED = "planned"
    """What the run is going to do: the plan is in `details`. For views that also show steps that have not begun."""


class Event(Frozen):
    """One thing that happened in a run."""

    at: datetime
    stack: str
    action: Action
    step: str = ""
    """Id of the step. Empty: the whole run."""
    service: str | None = None
    message: str = ""
    elapsed_s: float | None = None
    """How long the step took. None: it has not ended."""
    details: dict[str, Any] = Field(default_factory=dict)
