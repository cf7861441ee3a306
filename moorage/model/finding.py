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
    HELPERS = "containers that read or filled a volume"
    LEASES = "leases"
    """Of a stack that is neither on record nor on the engine."""
    NETWORKS = "networks"
    IMAGE_TAGS = "image tags"
    IMAGES = "image"
    """Built by Moorage, used by no container, and more than the disk is to hold of them."""
    GENERATIONS = "old generations"
    """More, or longer superseded, than is kept. Below the same, by age."""
    COPIES = "copies of restored volumes"
    """What a restore that has ended had kept of what was in the volume before."""
    RUNS = "old runs"
    TIMINGS = "old timings"
    REPORTS = "old failure reports"
    UNFINISHED = "unfinished files"
    """Of writes that were killed: nobody reads them."""
    UNREADABLE = "what cannot be read"
    """A row, a container, a file: it is left as it is, and stops nothing else."""
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
    left: str | None = None
    """Why it stays for now: it is looked at again by the next sweep. None: it does not."""
    bytes: int | None = None
    """What its removal frees on the engine's disk. None: not measured."""
    flow_run_id: str | None = None
    """For an unfinished run: its flow run, which Prefect may still show as running."""
