"""A service inside a session that it dies with: what Dagger is asked to run for a throw-away stack."""

from __future__ import annotations

from pydantic import Field

from moorage.model.base import Frozen
from moorage.model.definition import InjectedFile


class SandboxService(Frozen):
    """One service of a throw-away stack."""

    name: str
    image: str | None
    """None: it is built."""
    command: tuple[str, ...] = ()
    """Empty: what the image runs."""
    entrypoint: tuple[str, ...] | None = None
    """None: the image's."""
    environment: dict[str, str] = Field(default_factory=dict, repr=False)
    user: str = ""
    workdir: str = ""
    init: bool = False
    hostname: str
    exposed: tuple[int, ...] = ()
    """Ports that others reach it at: published ones and those of `expose`."""
    scratch: tuple[str, ...] = ()
    """Paths with an empty file system in memory (`tmpfs`)."""
    volumes: tuple[str, ...] = ()
    """Paths of named and anonymous volumes, empty at the start; gone with the session."""
    copies: dict[str, str] = Field(default_factory=dict)
    """Path in the container → what is copied there from this machine: read-only mounts."""
    files: tuple[InjectedFile, ...] = ()
    """Secrets and configs."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Target of a secret or config → the file of this machine that its content is in."""
    aliases: tuple[str, ...] = ()
    """Further names that others know it by."""
    needs: tuple[str, ...] = ()
    """Services that have to be ready before, and that it is bound to."""
    one_shot: bool = False
    """True: it is run to its end."""
