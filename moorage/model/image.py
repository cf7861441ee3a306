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


class Survey(Frozen):
    """What lies in a build context that has no Dockerfile."""

    names: tuple[str, ...]
    """What a build would see at the top of it, folders with a slash at their end; caches and secrets left out."""
    texts: dict[str, str]
    """Contents of the files that say what kind of project it is: `requirements.txt`, `package.json`, …"""


class Recipe(Frozen):
    """How the image of a project without a Dockerfile is made; the same with every builder."""

    kind: str
    base: str
    """Image that it starts from, unless the build argument says another."""
    base_argument: str
    workdir: str = "/srv"
    environment: dict[str, str]
    manifests: tuple[str, ...]
    """Files that the dependencies follow from: as long as they stay the same, that layer is taken from the cache."""
    install: tuple[str, ...]
    cache: str
    """Where the package manager keeps its downloads, for builders with cache volumes."""
    build: tuple[str, ...] = ()
    """Command that makes something of the sources. Empty: nothing has to be made."""
    names: tuple[str, ...]
    user: str
    port: int
    command: tuple[str, ...]
    """What the container runs. Empty: the definition says so."""


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
    recipe: Recipe | None = None
    """For a project without a Dockerfile. None: there is one, or it stands in the definition."""


class BuiltImage(Frozen):
    """An image that was built and is on the engine."""

    tag: str
    image_id: str
    """`sha256:…` of the engine."""
    repo_digest: str | None = None
    """`name@sha256:…` of a registry. None: no registry knows the image."""
