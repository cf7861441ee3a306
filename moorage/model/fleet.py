"""Many stacks at once: which ones, and what came of each."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from moorage.model.base import Frozen


class FleetVerb(StrEnum):
    """What is done to each."""

    UP = "up"
    DOWN = "down"
    STATUS = "status"


class FleetMember(Frozen):
    """One that is asked for."""

    directory: Path
    source: str = ""
    """Name of its Stack Source. Empty: the directory was named."""
    stack: str = ""
    """Its name on record. Empty: there is none in the directory, or not yet."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.stack or self.source or str(self.directory)


class FleetRow(Frozen):
    """What came of one."""

    stack: str
    """Its name; where it never came to one, what it was asked for by."""
    directory: str
    state: str
    """As the engine has it: `running`, `absent`; or `failed`, `interrupted`."""
    changed: int = 0
    """How many services were started."""
    elapsed_s: float = 0.0
    error: str | None = None
    exit_code: int = 0
    """As if it had been done alone."""
    flow_run_id: str | None = None
