"""A definition: the output of `compose config`, and a typed reading of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from moorage.model.base import Frozen

Protocol = Literal["tcp", "udp", "sctp"]
Config = dict[str, Any]
"""A Compose project in canonical form: the parsed output of `compose config --format json`."""
FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""Files that Compose looks for in a directory if no file is named."""
OVERRIDE_NAMES = tuple(name.replace("compose.y", "compose.override.y") for name in FILE_NAMES)
"""Files that it merges with those, if they exist."""


class Condition(StrEnum):
    """When a dependency counts as met; Compose's own names."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class Dependency(Frozen):
    """One entry of `depends_on`."""

    service: str
    condition: Condition = Condition.STARTED
    required: bool = True
    """False: it need not be part of the definition, and its failure stops no other service."""
    restart: bool = False
    """True: restart the dependent when this one is restarted or re-created."""
    shares: bool = False
    """True: the dependent lives in this one's network, memory or processes, which end when this one does."""


class PortMapping(Frozen):
    """One published port of a service."""

    service: str
    target: int = Field(ge=1, le=65535)
    protocol: Protocol = "tcp"
    slot: int = Field(default=0, ge=0)
    """Number of this mapping among those with the same target and protocol."""
    host_ip: str | None = None
    """None: the file names no address, so the port is bound to 127.0.0.1."""
    wanted: int | None = Field(default=None, ge=1, le=65535)
    """The first published port in the file. None: any."""
    wanted_last: int | None = Field(default=None, ge=1, le=65535)
    """The last port of a published range. None: no range."""
    count: int = Field(default=1, ge=1)
    """How many consecutive host ports are needed: one per replica."""
    fixed: bool = False
    """True with `network_mode: host`: the port cannot be moved."""


class Check(StrEnum):
    """Kinds of `x-moorage.ready`."""

    HTTP = "http"
    TCP = "tcp"
    LOG = "log"
    EXEC = "exec"
    EXIT = "exit"


class ReadyCheck(Frozen):
    """`x-moorage.ready` of a service: when it is ready."""

    check: Check
    path: str = "/"
    port: int | None = None
    """Container port of an http or tcp check. None: the first published one."""
    status: int | None = None
    """Expected HTTP status. None: any from 200 to 399."""
    pattern: str = ""
    """Regular expression that a log line must match."""
    command: tuple[str, ...] = ()
    exit_code: int = 0
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest time until ready. None: the setting `ready_timeout_s`."""


class RestartPolicy(StrEnum):
    """After which ends the engine starts a container again; the engine's own names."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


class HealthCheck(Frozen):
    """A health check as the engine would run it. Times in seconds, with the engine's defaults filled in."""

    command: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    start_period_s: float = 0.0
    start_interval_s: float = 5.0
    """The interval while the start period lasts."""
    retries: int = 3

    @property
    def deadline_s(self) -> float:
        """How long after a start the engine itself gives up at the latest: each probe may take all its time."""
        return self.start_period_s + self.retries * (self.interval_s + self.timeout_s)

    def pause_s(self, since_start_s: float) -> float:
        """The engine's pause between two probes, so long after the start of the container."""
        starting = since_start_s < self.start_period_s
        return min(self.start_interval_s, self.interval_s) if starting else self.interval_s


class Hook(Frozen):
    """A `post_start` or `pre_stop` command, run inside the container."""

    command: tuple[str, ...]
    user: str = ""
    privileged: bool = False
    working_dir: str | None = None
    environment: tuple[str, ...] = ()


class InjectedFile(Frozen):
    """A secret or config without a file on the host: written into the container before it starts."""

    target: str
    content: str = Field(repr=False)
    mode: int = 0o444
    uid: int = 0
    gid: int = 0
    secret: bool = False
    """True: a secret, not a config, so it is hidden in all output."""


class InitContainer(Frozen):
    """An entry of `pre_start`: a container that runs to its end before those of its service start."""

    command: tuple[str, ...] = ()
    """Empty: its image's own."""
    image: str | None = None
    """None: its service's."""
    pull_policy: str = "missing"
    pull_every_s: float | None = None
    """As of a service."""
    inject: tuple[InjectedFile, ...] = ()


class Service(Frozen):
    """What Moorage needs to know about a service; Compose handles the rest of the config."""

    name: str
    image: str | None = None
    """None: built, and named by Compose."""
    builds: bool = False
    pull_policy: str = "missing"
    """`missing`, `always`, `never`, `build`."""
    pull_every_s: float | None = None
    """`pull_policy: daily | weekly | every_…`: pulled if it was pulled longer ago. None: no such policy."""
    replicas: int = Field(default=1, ge=0)
    depends_on: tuple[Dependency, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    health_off: bool = False
    """True: the definition switches the image's health check off."""
    ready: ReadyCheck | None = None
    probe_at_interval: bool = False
    """`x-moorage.probe: interval`: the health check has side effects, so run it only once per interval."""
    address_kept: bool = False
    """`x-moorage.address: keep`: it has the same address on the networks of its stack each time it is made."""
    pre_start: tuple[InitContainer, ...] = ()
    post_start: tuple[Hook, ...] = ()
    pre_stop: tuple[Hook, ...] = ()
    inject: tuple[InjectedFile, ...] = ()
    stop_grace_s: float | None = Field(default=None, ge=0)
    """None: the setting `stop_grace_s`."""
    restarts: bool = False
    """Of generations that an earlier version has written. What starts again is said by the containers."""


class Source(Frozen):
    """Where a definition comes from: the arguments of the Compose CLI."""

    directory: Path
    """Absolute, links followed: a stack belongs to it, however it is called."""
    called: Path | None = None
    """The directory as it was named, if there are links in that; names are derived from it. None: there are none."""
    files: tuple[Path, ...] = ()
    """Empty: Compose's own search from the directory upward."""
    profiles: tuple[str, ...] = ()
    env_files: tuple[Path, ...] = ()
    environment: tuple[tuple[str, str], ...] = Field(default=(), repr=False)
    """Variables on top of the process environment."""
    secret: tuple[str, ...] = ()
    """Names of those variables whose values are secret."""

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The values to hide."""
        return tuple(value for name, value in self.environment if name in self.secret)


class Hidden(Frozen):
    """Texts that are not to be shown and that Compose's JSON does not hold: from files and the environment."""

    secrets: tuple[str, ...] = Field(default=(), repr=False)
    """Of Compose secrets, and of files that are secret as a whole: hidden line by line."""
    configs: tuple[str, ...] = Field(default=(), repr=False)
    """Of Compose configs: their longer lines and what looks secret in them is hidden."""

    def __add__(self, other: Hidden) -> Hidden:
        return Hidden(secrets=(*self.secrets, *other.secrets), configs=(*self.configs, *other.configs))


class Definition(Frozen):
    """A resolved definition."""

    source: Source
    name: str
    """The stack's name."""
    config: Config = Field(repr=False)
    services: dict[str, Service]
    named: tuple[str, ...] = ()
    """Networks and volumes whose name the file gives, such as `volumes.data`: they may be shared with other stacks."""
    port_variables: dict[str, tuple[str, int, str, int]] = Field(default_factory=dict)
    """Variable → the mapping (service, target, protocol, slot) whose published part it is, e.g. BACKEND_PORT."""
    address_variables: tuple[str, ...] = ()
    """Those of them whose value is an address and a port."""
    notices: tuple[str, ...] = ()
    """What a person should know: container_name dropped, shared volumes, paths outside the project."""
    approve: bool = False
    """`x-moorage.approve`: runs of the hub show the plan and wait for approval."""
    ttl_s: float | None = None
    """`x-moorage.ttl`: `sweep` removes the stack this long after its start. None: never."""
    builder: str | None = None
    """`x-moorage.builder`: the image builder. None: not set."""
    dagger_expose: bool = False
    """`x-moorage.dagger.expose`: published ports of a throw-away stack in Dagger may be open to the network."""
    hidden: Hidden = Hidden()
    whole: Definition | None = Field(default=None, repr=False)
    """Of an `up` of some services, all of them: others may build what these run. None: these are all."""
