"""What a person asks of a verb on a stack; the command's options and the forms of Prefect are two readers of it.

Their fields are the parameters of the flows, name by name. What `up` and `build` are asked is in `definitions.request`.
"""

from __future__ import annotations

from pathlib import Path

from moorage.model.base import Frozen
from moorage.model.fleet import FleetVerb


class StackRequest(Frozen):
    """Names the stack."""

    stack: str


class DownRequest(StackRequest):
    """Of `down`."""

    volumes: bool = False
    release_ports: bool = False
    timeout_s: float | None = None
    """Grace period of stops. None: what the definition says."""
    services: tuple[str, ...] = ()
    """Only the containers of these. Empty: all of the stack."""


class StopRequest(StackRequest):
    """Of `stop`."""

    services: tuple[str, ...] = ()
    """Empty: all."""
    timeout_s: float | None = None
    """Grace period of stops. None: what the definition says."""
    force: bool = False
    """Kill when the grace period is over, even if a pre_stop hook is still running."""


class StartRequest(StackRequest):
    """Of `start`."""

    services: tuple[str, ...] = ()
    """Empty: all."""


class RestartRequest(StackRequest):
    """Of `restart`."""

    services: tuple[str, ...] = ()
    """Empty: all."""
    recreate: bool = False
    """Containers are made again, from the current generation."""
    timeout_s: float | None = None
    """Grace period of stops. None: what the definition says."""


class RollbackRequest(StackRequest):
    """Of `rollback`."""

    to: int | None = None
    """Number of the generation. None: the one before the current."""


class HealRequest(StackRequest):
    """Of `health --heal`."""

    insist: bool = False
    """A person asked: at once, and also what was given up. Else a stack that is busy is left for the next time."""


class SweepRequest(Frozen):
    """Of `sweep`."""

    dry_run: bool = False
    """True: only look."""
    volumes: bool = False
    """True: stacks that are ended lose their volumes too, and with them their data."""
    disk: str = ""
    """What images built by Moorage may take on the engine's disk, `20GB`. Empty: as the setting `sweep_disk` says."""


class FleetRequest(Frozen):
    """Of `fleet`."""

    verb: FleetVerb
    paths: tuple[str, ...] = ()
    """Directories, or patterns."""
    sources: tuple[str, ...] = ()
    """Names of Stack Sources."""
    at_once: int | None = None
    """How many at the same time. None: by cores and free memory."""
    build: bool = False
    """`up`: even if nothing has changed."""
    volumes: bool = False
    """`down`: with their volumes, and with them their data."""
    release_ports: bool = False
    """`down`: their host ports are not kept."""


class SnapshotRequest(StackRequest):
    """Of `volumes snapshot`."""

    volume: str
    target: Path | None = None
    """None: in `snapshots/STACK` of `$MOORAGE_HOME`."""
    as_files: bool = False
    """True: files also of a PostgreSQL that runs; it is stopped for it."""
    force: bool = False
    """True: a file that is there is overwritten."""


class RestoreRequest(StackRequest):
    """Of `volumes restore`."""

    source: Path
    volume: str | None = None
    """None: the one that the snapshot was taken of."""
    force: bool = False
    """True: what is in the volume is replaced."""
