"""Volumes, and snapshots of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from moorage.model.base import Frozen

ROOT = "moorage-volume"
"""First part of the name of every file of a volume, in tar streams and in snapshots. The volume itself is `ROOT`."""


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
    """The stack that made it. Empty: it is not ours."""
    key: str = ""
    """What the compose file calls it. Empty: not known."""
    driver: str = "local"
    options: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    size_bytes: int | None = None
    """None: not asked for, or the driver does not say."""
    users: tuple[VolumeUser, ...] = ()


class Kind(StrEnum):
    """What is in a snapshot."""

    FILES = "files"
    """All files, read while nothing used them."""
    POSTGRES = "postgres"
    """What `pg_dump` gave of each database, and `pg_dumpall` of the roles."""


class Manifest(Frozen):
    """The first member of a snapshot: what it was taken of."""

    format: int = 1
    kind: Kind
    stack: str
    volume: str
    """What the compose file calls it."""
    service: str = ""
    image: str = ""
    created_at: datetime
    databases: tuple[str, ...] = ()
    """Of PostgreSQL, in the order of their dumps."""


class Contents(Frozen):
    """The last member of a snapshot: what has to stand before it."""

    members: int = Field(ge=0)
    bytes: int = Field(ge=0)
    """Of all files, not compressed."""
    digest: str
    """Sum of the SHA-256 of all members (name, kind, mode, owner, content): the same for the same files."""
    sha256: str = ""
    """Of all bytes of the tar stream before this member."""


class Snapshot(Frozen):
    """A snapshot on disk that was found whole."""

    path: str
    size_bytes: int
    sha256: str
    """Of the file, as `sha256sum` says it."""
    manifest: Manifest
    contents: Contents
