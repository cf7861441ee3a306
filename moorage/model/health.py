"""Health: the result of each service's check, and how a stack has drifted from its generation."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from moorage.model.base import Frozen


class CheckResult(Frozen):
    """The result of one check of one container, run just now."""

    service: str
    container: str
    """Its name. Empty: there is no container."""
    state: str
    ready: bool
    check: str
    """Where the check comes from: `health check`, `postgres image`. Empty: there was nothing to check."""
    message: str = ""
    """What was wrong. Empty: nothing."""
    elapsed_s: float = 0.0


class DriftKind(StrEnum):
    """How a service differs from its generation."""

    DOWN = "down"
    NOT_READY = "not ready"
    CRASH_LOOP = "crash loop"
    IMAGE = "image"
    CONFIG = "config"
    PORT = "port not published"
    NETWORK = "network"
    FOREIGN = "re-created by others"
    EXTRA = "extra"


class Drift(Frozen):
    """One difference from the generation."""

    service: str
    kind: DriftKind
    what: str
    ours: bool = True
    """False: it is not ours, and is never touched."""


class HealState(StrEnum):
    """What is done about a service."""

    NOW = "now"
    LATER = "later"
    GIVEN_UP = "given up"


class Treatment(Frozen):
    """What to do about a drifted service."""

    service: str
    state: HealState
    attempts: int
    """Number of attempts so far."""
    not_before: datetime | None = None
    """When it is tried again. None: now, or never."""


class Health(Frozen):
    """`health --json`."""

    stack: str
    generation: int | None
    ready: bool
    """True: every check passed."""
    resting: bool = False
    """True: nothing should be running, because it was stopped or taken down."""
    checks: tuple[CheckResult, ...] = ()
    drift: tuple[Drift, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    """Only with `heal`."""
    healed: tuple[str, ...] = ()
    """Services that were repaired."""

    def of(self, services: Collection[str]) -> Health:
        """The same for some services only."""
        checks = tuple(check for check in self.checks if check.service in services)
        drift = tuple(one for one in self.drift if one.service in services)
        ready = all(check.ready for check in checks) and bool(checks)
        return self.model_copy(update={"checks": checks, "drift": drift, "ready": ready})

    @property
    def well(self) -> bool:
        """True if everything that should run is ready and matches its generation."""
        return self.ready and not self.drift
