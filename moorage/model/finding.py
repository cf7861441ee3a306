"""A finding of `sweep`: something left behind."""

from __future__ import annotations

from enum import StrEnum

from moorage.model.base import Frozen


class Leftover(StrEnum):
    """Kinds of things that may be left behind."""

    RUN = "unfinished run"
    STACK = "stack"
    """Its directory is gone, or its time to live is over."""
    PROCESS_STACK = "stack of a killed process"
    ONE_OFF = "container of a killed `run`"
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
    """One thing that was left behind, and whether it was removed."""

    kind: Leftover
    stack: str
    """Empty: of no stack, or of all that are gone."""
    what: str
    """As text: which run, why it is to be removed, which leases."""
    swept: bool = False
    """False: this was a dry run, or it failed."""
    error: str | None = None
    """Why it failed. None: it succeeded, or was not tried."""
    flow_run_id: str | None = None
    """For an unfinished run: its flow run, which Prefect may still show as running."""
