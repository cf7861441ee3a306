"""Health: what each service's check says now, and where a stack has drifted from its generation."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from moorage.model.base import Frozen


class CheckResult(Frozen):
    """One check of one container, run just now."""

    service: str
    container: str
    """Its name. Empty: there is none."""
    state: str
    ready: bool
    check: str
    """Where the check comes from, in words: `health check`, `postgres image`. Empty: there was nothing to ask."""
    message: str = ""
    """What was wrong. Empty: nothing."""
    elapsed_s: float = 0.0


class DriftKind(StrEnum):
    """How a service is not as its generation has it."""

    DOWN = "down"
    NOT_READY = "not ready"
    CRASH_LOOP = "crash loop"
    IMAGE = "image"
    CONFIG = "config"
    PORT = "port not published"
    FOREIGN = "re-created by others"
    EXTRA = "extra"


class Drift(Frozen):
    """One thing that is not as it should be."""

    service: str
    kind: DriftKind
    what: str
    ours: bool = True
    """False: it is not ours, and never touched."""


class HealState(StrEnum):
    """What is done about a service."""

    NOW = "now"
    LATER = "later"
    GIVEN_UP = "given up"


class Treatment(Frozen):
    """What is to be done about a drifted service."""

    service: str
    state: HealState
    attempts: int
    """How often it was tried already."""
    not_before: datetime | None = None
    """When it is tried again. None: now, or never."""


class Health(Frozen):
    """`health --json`."""

    stack: str
    generation: int | None
    ready: bool
    """True: every check passed."""
    resting: bool = False
    """True: nothing is expected to run: it was stopped or taken down."""
    checks: tuple[CheckResult, ...] = ()
    drift: tuple[Drift, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    """Of a look with `heal`."""
    healed: tuple[str, ...] = ()
    """Services that were repaired by this look."""

    @property
    def well(self) -> bool:
        """True: all that should run is ready, and as its generation has it."""
        return self.ready and not self.drift
