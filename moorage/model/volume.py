"""Volumes, and snapshots of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from moorage.model.base import Frozen

ROOT = "moorage-volume"
"""Prefix of the names of all files of a volume, in tar streams and snapshots. The volume itself is `ROOT`."""


class VolumeUser(Frozen):
    """A container that mounts a volume."""

    container: str
    """Its id."""
    name: str
    stack: str
    """Its Compose project. Empty: it has none."""
    service: str
    running: bool


class Volume(Frozen):
    """A named volume of the engine."""

    name: str
    stack: str = ""
    """The stack that created it. Empty: it is not ours."""
    key: str = ""
    """Its name in the compose file. Empty: not known."""
    driver: str = "local"
    options: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    size_bytes: int | None = None
    """None: not requested, or the driver does not report it."""
    users: tuple[VolumeUser, ...] = ()


class Kind(StrEnum):
    """Kinds of snapshots."""

    FILES = "files"
    """All files, read while nothing used them."""
    POSTGRES = "postgres"
    """`pg_dump` of each database, and `pg_dumpall` of the roles."""


class Manifest(Frozen):
    """The first member of a snapshot: what it contains."""

    format: int = 1
    kind: Kind
    stack: str
    volume: str
    """What the compose file calls it."""
    service: str = ""
    image: str = ""
    created_at: datetime
    databases: tuple[str, ...] = ()
    """PostgreSQL's databases, in the order of their dumps."""


class Contents(Frozen):
    """The last member of a snapshot: a summary of everything before it."""

    members: int = Field(ge=0)
    bytes: int = Field(ge=0)
    """Of all files, uncompressed."""
    digest: str
    """Sum of the SHA-256 of all members (name, kind, mode, owner, content): the same for the same files."""
    sha256: str = ""
    """Of all bytes of the tar stream before this member."""


class Snapshot(Frozen):
    """A complete snapshot on disk."""

    path: str
    size_bytes: int
    sha256: str
    """Checksum of the file, as printed by `sha256sum`."""
    manifest: Manifest
    contents: Contents
