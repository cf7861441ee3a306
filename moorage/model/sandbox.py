"""A service of a throw-away stack, which Dagger runs inside a session and which ends with it."""

from __future__ import annotations

from pydantic import Field

from moorage.model.base import Frozen
from moorage.model.definition import HealthCheck, InjectedFile


class SandboxHealth(Frozen):
    """A health check as the definition has it; what it leaves open is the image's."""

    off: bool = False
    """True: there is none, whatever the image says."""
    args: tuple[str, ...] = ()
    """Empty: the image's command."""
    shell: bool = False
    """True: the one argument is for the container's shell."""
    interval_s: float | None = None
    timeout_s: float | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None
    retries: int | None = None

    @property
    def deadline_s(self) -> float:
        """How long after its start the check fails for good at the latest, where the image sets no time."""
        chosen = {name: value for name, value in self.model_dump(exclude={"off", "args", "shell"}).items() if value}
        return HealthCheck(command=self.args, **chosen).deadline_s


class SandboxService(Frozen):
    """One service of a throw-away stack."""

    name: str
    image: str | None
    """None: it is built."""
    command: tuple[str, ...] = ()
    """Empty: the image's command."""
    entrypoint: tuple[str, ...] | None = None
    """None: the image's."""
    environment: dict[str, str] = Field(default_factory=dict, repr=False)
    user: str = ""
    workdir: str = ""
    init: bool = False
    hostname: str
    exposed: tuple[int, ...] = ()
    """Ports on which others reach it: published ones and those of `expose`."""
    asked: tuple[int, ...] = ()
    """Those of them that must accept connections before it is ready."""
    health: SandboxHealth | None = None
    """None: the image's, if it has one. A health check is asked instead of the ports."""
    scratch: tuple[str, ...] = ()
    """Paths with an empty in-memory file system (`tmpfs`)."""
    volumes: tuple[str, ...] = ()
    """Paths of named and anonymous volumes, empty at the start; gone with the session."""
    copies: dict[str, str] = Field(default_factory=dict)
    """Path in the container → path on this machine that is copied there: read-only mounts."""
    files: tuple[InjectedFile, ...] = ()
    """Secrets and configs."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Target of a secret or config → file on this machine with its content."""
    aliases: tuple[str, ...] = ()
    """Other names under which services reach it."""
    needs: tuple[str, ...] = ()
    """Services that must be ready before it, and that it is bound to."""
    one_shot: bool = False
    """True: it runs to completion."""
