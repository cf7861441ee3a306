"""The Block `StackSource`, for the definition of a stack, and the `PortRange` that it may use."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, model_validator

from moorage.rules.durations import seconds
from moorage.work.definitions.request import UpRequest, source_of

_LOGO = HttpUrl("https://cdn.sanity.io/images/3ugk85nk/production/14a315b79990200db7341e42553e23650b34bb96-250x250.png")
DURATION = r"^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+$"


class PortPolicy(StrEnum):
    """What a start does if a wanted host port is taken."""

    NEXT_FREE = "next free"
    """It leases the next free port."""
    STRICT = "strict"
    """It fails, and names the holder of the port."""


class PortRange(Block):
    """A range of host ports, for mappings that do not choose a port.

    Attributes:
        first: The first port of the range.
        last: The last port.

    Example:
        Keep a team's stacks between 21000 and 21999:
        ```python
        from blocks.stack_source import PortRange

        PortRange(first=21000, last=21999).save("team-a")
        ```
    """

    _block_type_name = "Moorage Port Range"
    _block_type_slug = "moorage-port-range"
    _description = "Host ports that stacks may lease if their compose file does not choose a port."
    _logo_url = _LOGO
    _documentation_url = HttpUrl("https://docs.docker.com/reference/compose-file/services/#ports")

    first: int = Field(ge=1, le=65535, title="First port", examples=[21000])
    last: int = Field(ge=1, le=65535, title="Last port", examples=[21999])

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            message = f"the last port ({self.last}) is below the first ({self.first})"
            raise ValueError(message)
        return self

    @property
    def text(self) -> str:
        """The range in the format of the setting `port_range`: `21000-21999`."""
        return f"{self.first}-{self.last}"


class StackSource(Block):
    """A directory with a compose file, and options for starting its stack; `up` takes its name as `stack`.

    Attributes:
        path: Directory of the project, on the worker's machine.
        files: Compose files, relative to the path. Empty: as `docker compose` finds them.
        profiles: Profiles to enable.
        env: Variables for the compose file.
        secrets: Secret variables; they are encrypted here, and hidden in logs and artifacts.
        port_policy: What a start does if a wanted host port is taken.
        ttl: Time to live of the stack, such as `8h`. Empty: for ever.
        ports: Range for host ports that the compose file does not choose.
        approve: Wait for Resume in the UI before anything is done.
        registry_credentials: Name of a Docker Registry Credentials block, for pulling from a private registry.

    Example:
        Save a source and start its stack from a program:
        ```python
        from blocks.stack_source import StackSource
        from prefect.deployments import run_deployment

        StackSource(path="/srv/shop", secrets={"DB_PASSWORD": "…"}, ttl="8h").save("shop")
        run_deployment("up/up", parameters={"stack": "shop"})
        ```
    """

    model_config = ConfigDict(use_attribute_docstrings=False)

    _block_type_name = "Moorage Stack Source"
    _block_type_slug = "moorage-stack-source"
    _description = (
        "A compose project on the worker's machine: files, profiles, variables, secrets, ports, time to live."
    )
    _logo_url = _LOGO
    _documentation_url = HttpUrl("https://docs.docker.com/reference/compose-file/")

    path: str = Field(title="Directory", min_length=1, examples=["/srv/shop"])
    files: list[str] = Field(default_factory=list, title="Compose files", examples=[["compose.yaml"]])
    profiles: list[str] = Field(default_factory=list, title="Profiles")
    env: dict[str, str] = Field(default_factory=dict, title="Variables", examples=[{"LOG_LEVEL": "info"}])
    secrets: dict[str, SecretStr] = Field(default_factory=dict, title="Secret variables")
    port_policy: PortPolicy = Field(default=PortPolicy.NEXT_FREE, title="When a port is taken")
    ttl: str | None = Field(default=None, title="Time to live", pattern=DURATION, examples=["8h"])
    ports: PortRange | None = Field(default=None, title="Port range")
    approve: bool = Field(default=False, title="Wait for approval")
    registry_credentials: str | None = Field(
        default=None, title="Docker Registry Credentials", examples=["our-registry"]
    )

    def request(self) -> UpRequest:
        """The request for `up`. Raises DefinitionError, for example if the directory does not exist."""
        folder = Path(self.path).expanduser()
        source = source_of(folder, [str(folder / file) for file in self.files], self.profiles, ())
        hidden = {name: value.get_secret_value() for name, value in self.secrets.items()}
        environment = tuple({**self.env, **hidden}.items())
        return UpRequest(
            source=source.model_copy(update={"environment": environment, "secret": tuple(hidden)}),
            strict_ports=self.port_policy == PortPolicy.STRICT,
            ttl_s=seconds(self.ttl, "ttl") if self.ttl else None,
            approve=self.approve,
        )
