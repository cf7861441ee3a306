"""A plan: the steps from the observed state to a generation."""

from __future__ import annotations

from enum import StrEnum

from moorage.model.base import Frozen


class StepKind(StrEnum):
    """Kinds of steps, in the order of a start."""

    LEASE = "lease"
    BUILD = "build"
    PULL = "pull"
    CREATE = "create"
    STOP = "stop"
    START = "start"
    READY = "ready"
    REMOVE = "remove"


class Operation(StrEnum):
    """What a run does to a stack."""

    UP = "up"
    DOWN = "down"
    STOP = "stop"
    START = "start"
    RESTART = "restart"
    ROLLBACK = "rollback"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    HEAL = "heal"
    SWEEP = "sweep"
    """Holds a lock while it cleans up; it removes stacks with a `down`."""


class Step(Frozen):
    """One thing to do, what it waits for, and what undoes it."""

    kind: StepKind
    service: str | None = None
    """None: the step concerns the whole stack."""
    needs: tuple[str, ...] = ()
    """Ids of the steps that must be done first."""
    why: str = ""
    undo: str = ""
    """What undoes it, as text. Empty: nothing to undo."""
    detail: tuple[str, ...] = ()
    """Details for people: ports, image, what changed."""

    @property
    def id(self) -> str:
        """Unique in its plan, and its name in Prefect: `start postgres`."""
        return f"{self.kind} {self.service}" if self.service else str(self.kind)


class Plan(Frozen):
    """The steps of one run, each after all that it needs."""

    stack: str
    operation: Operation
    steps: tuple[Step, ...]
    unchanged: tuple[str, ...] = ()
    """Services that need no step."""
    notices: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """True if there is nothing to do."""
        return not self.steps
