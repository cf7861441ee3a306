"""Images: builders, what to build, and the result."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from moorage.model.base import Frozen
from moorage.model.definition import Config


class BuilderName(StrEnum):
    """Image builders."""

    AUTO = "auto"
    """Compose, unless Dagger is selected elsewhere."""
    COMPOSE = "compose"
    DAGGER = "dagger"


class Availability(Frozen):
    """Whether a backend can be used now, and if not, why, and how to fix it."""

    backend: str
    usable: bool
    version: str = ""
    """Empty: not known."""
    found: tuple[str, ...] = ()
    """What was checked and found, as lines for people."""
    reason: str = ""
    """Why it is not usable. Empty: it is usable."""
    hint: str | None = None
    """What to do about it. None: nothing needs to be done."""


class BuildSecret(Frozen):
    """A secret of a build, mounted as `/run/secrets/<id>`."""

    id: str
    kind: Literal["file", "value"]
    """`file`: the value is in a file on this machine; `value`: it is given here."""
    text: str = Field(repr=False)
    """Path or value."""


class RegistryLogin(Frozen):
    """A login for a private registry."""

    registry: str
    """Host and port: `registry.example.org:5000`."""
    username: str
    password: str = Field(repr=False)


class Survey(Frozen):
    """What a build context without a Dockerfile contains."""

    names: tuple[str, ...]
    """Names at its top level, folders with a trailing slash; without caches and secrets."""
    texts: dict[str, str]
    """Contents of the files that say what kind of project it is: `requirements.txt`, `package.json`, …"""


class Recipe(Frozen):
    """How to build the image of a project without a Dockerfile; the same with every builder."""

    kind: str
    base: str
    """Base image, unless the build argument names another."""
    base_argument: str
    workdir: str = "/srv"
    environment: dict[str, str]
    manifests: tuple[str, ...]
    """Files that determine the dependencies: while they do not change, that layer comes from the cache."""
    install: tuple[str, ...]
    cache: str
    """Where the package manager stores its downloads, for builders with cache volumes."""
    build: tuple[str, ...] = ()
    """Command that builds the sources. Empty: nothing has to be built."""
    names: tuple[str, ...]
    user: str
    port: int
    command: tuple[str, ...]
    """Command of the container. Empty: the definition has one."""


class BuildSpec(Frozen):
    """One image to build."""

    stack: str
    service: str
    tag: str
    """Name of the resulting image, `shop-backend` or the file's `image:`."""
    file: Path
    """The compose file that contains it; Compose builds from that."""
    build: Config = Field(repr=False)
    """The `build` section as Compose prints it, paths absolute, `$` single."""
    secrets: tuple[BuildSecret, ...] = ()
    variables: dict[str, str] = Field(default_factory=dict, repr=False)
    """What Compose takes secrets from: it reads the file above, and so not the project's `.env`."""
    recipe: Recipe | None = None
    """For a project without a Dockerfile. None: there is one, as a file or inline."""


class LocalImage(Frozen):
    """An image that the engine has under a reference."""

    image_id: str
    labels: dict[str, str] = Field(default_factory=dict)
    tagged_at: datetime | None = None
    """When it was given a name last, which a pull does too. None: not known, or it was not asked for."""


class Layer(Frozen):
    """A layer of an image."""

    id: str
    """What it and all below it were made by: two images with the same one share it."""
    bytes: int


class StoredImage(Frozen):
    """An image on the engine's disk."""

    image_id: str
    tags: tuple[str, ...] = ()
    """Empty: it has lost its name to a newer one."""
    layers: tuple[Layer, ...] = ()
    """From the bottom."""
    in_use: bool = False
    """Whether a container was made from it, running or not."""
    tagged_at: datetime | None = None
    """When it was given a name last. None: the engine does not know."""


class BuiltRecord(Frozen):
    """An image that Moorage has built, as it stands on record."""

    image_id: str
    stack: str
    at: datetime


class ImageWish(Frozen):
    """What is asked for about images beyond what the definition says."""

    build: frozenset[str] | None = frozenset()
    """Services whose images are built even if nothing changed. None: all that are built."""
    pull: str | None = None
    """`always`, `missing`: instead of each service's own `pull_policy`. None: as it says."""
    complete: bool = True
    """False: an image that must not be pulled may be missing."""
    no_cache: bool = False
    newer_bases: bool = False
    """The builder looks for newer base images."""
    arguments: tuple[tuple[str, str], ...] = Field(default=(), repr=False)
    """Build arguments on top of those of the definition."""


NO_WISH = ImageWish()


class BuiltImage(Frozen):
    """An image that was built and is on the engine."""

    tag: str
    image_id: str
    """`sha256:…` of the engine."""
    repo_digest: str | None = None
    """`name@sha256:…` of a registry. None: no registry knows the image."""
