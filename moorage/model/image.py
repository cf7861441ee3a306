"""Images: who can build them, what is to be built, what came of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from moorage.model.base import Frozen
from moorage.model.definition import Config


class BuilderName(StrEnum):
    """Who builds images."""

    AUTO = "auto"
    """Compose, unless Dagger is asked for elsewhere."""
    COMPOSE = "compose"
    DAGGER = "dagger"


class Availability(Frozen):
    """Whether a backend can be used just now, and if not, why and what helps."""

    backend: str
    usable: bool
    version: str = ""
    """Empty: it could not be asked."""
    found: tuple[str, ...] = ()
    """What was looked at, and what was there: lines for people."""
    reason: str = ""
    """Why it is not usable. Empty: it is."""
    hint: str | None = None
    """What to do about it. None: nothing needs to be done."""


class BuildSecret(Frozen):
    """A secret of a build, mounted as `/run/secrets/<id>`."""

    id: str
    kind: Literal["file", "value"]
    """`file`: what it holds is in a file of this machine; `value`: it is given."""
    text: str = Field(repr=False)
    """Path or value."""


class RegistryLogin(Frozen):
    """Who may pull from a private registry."""

    registry: str
    """Host and port: `registry.example.org:5000`."""
    username: str
    password: str = Field(repr=False)


class BuildSpec(Frozen):
    """One image to build."""

    stack: str
    service: str
    tag: str
    """What the image is called afterwards, `shop-backend` or the file's `image:`."""
    file: Path
    """The compose file it stands in; Compose builds from that."""
    build: Config = Field(repr=False)
    """The `build` section as Compose prints it, paths absolute, `$` single."""
    secrets: tuple[BuildSecret, ...] = ()


class BuiltImage(Frozen):
    """An image that was built and is on the engine."""

    tag: str
    image_id: str
    """`sha256:…` of the engine."""
    repo_digest: str | None = None
    """`name@sha256:…` of a registry. None: no registry knows the image."""
