"""A finding of `sweep`: something left behind."""

from __future__ import annotations

from enum import StrEnum

from moorage.model.base import Frozen


class Leftover(StrEnum):
    """What may be left behind."""

    RUN = "unfinished run"
    STACK = "stack"
    """Its directory is gone, or its time to live has passed."""
    PROCESS_STACK = "stack of a killed process"
    LEASES = "leases"
    """Of a stack that is neither on record nor on the engine."""
    NETWORKS = "networks"
    IMAGE_TAGS = "image tags"
    GENERATIONS = "old generations"
    """More, or longer superseded, than is kept. Below the same, by age."""
    RUNS = "old runs"
    TIMINGS = "old timings"
    REPORTS = "old failure reports"
    HUB_LOGS = "hub logs"
    """They have grown too large, and begin anew."""


class Finding(Frozen):
    """One thing that was left behind, and what became of it."""

    kind: Leftover
    stack: str
    """Empty: of no stack, or of all that are gone."""
    what: str
    """In words: which run, why it is to go, which leases."""
    swept: bool = False
    """False: it was only looked for, or it could not be done."""
    error: str | None = None
    """Why it could not be done. None: it was done, or not tried."""
    flow_run_id: str | None = None
    """Of an unfinished run: its flow run, which Prefect may believe to be running."""
