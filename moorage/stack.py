"""A stack written in Python instead of a compose file: `with Stack(services={…}).up() as stack:`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moorage.interfaces import World
from moorage.model.definition import Condition, Config
from moorage.rules import naming
from moorage.running_stack import RunningStack, bring_up, finish
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.ephemeral import stack
from moorage.work.operations import orphans
from moorage.world import open_world


class Part(BaseModel):
    """A part of a compose file. `extra` is for keys of Compose that have no field here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    extra: dict[str, Any] = Field(default_factory=dict)

    def compose(self) -> Config:
        """In Compose's format, without fields that were not given."""
        own = self.model_dump(mode="json", exclude={"extra"}, exclude_defaults=True)
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in own and isinstance(value, Part):
                own[name] = value.compose()
            elif name in own and isinstance(value, dict):
                own[name] = {k: v.compose() if isinstance(v, Part) else own[name][k] for k, v in value.items()}
        return {**own, **self.extra}


class Build(Part):
    """How an image is built."""

    context: str = "."
    """Relative to the stack's `directory`."""
    dockerfile: str | None = None
    dockerfile_inline: str | None = None
    target: str | None = None
    args: dict[str, str] = Field(default_factory=dict)

    def compose(self) -> Config:
        """With the context, even if it is the default one."""
        return {"context": self.context, **super().compose()}


class HealthCheck(Part):
    """How the engine checks a container. Durations as in Compose: `500ms`, `1m30s`."""

    test: list[str]
    """`["CMD", "pg_isready"]`."""
    interval: str | None = None
    timeout: str | None = None
    start_period: str | None = None
    retries: int | None = None


class DependsOn(Part):
    """When a dependency counts as met."""

    condition: Condition = Condition.HEALTHY
    required: bool = True
    restart: bool = False

    def compose(self) -> Config:
        """With the condition, which Compose requires."""
        return {"condition": str(self.condition), **super().compose()}


class Service(Part):
    """One service. A `$` in any text stays a `$`: use Python's own variables."""

    image: str | None = None
    build: Build | None = None
    command: list[str] | str | None = None
    entrypoint: list[str] | str | None = None
    environment: dict[str, str | int | float | bool] = Field(default_factory=dict)
    ports: list[int | str] = Field(default_factory=list)
    """Container ports (`5432`: any host port) or Compose's short form (`"8000:8000"`: that one if it is free)."""
    depends_on: list[str] | dict[str, DependsOn] = Field(default_factory=list)
    healthcheck: HealthCheck | None = None
    volumes: list[str] = Field(default_factory=list)
    tmpfs: list[str] = Field(default_factory=list)
    user: str | None = None
    working_dir: str | None = None
    init: bool | None = None
    restart: Literal["no", "always", "on-failure", "unless-stopped"] | None = None
    ready: dict[str, Any] | str | None = None
    """`x-moorage.ready`: when it is ready, such as `{"http": "/health"}`. None: its health check."""

    def compose(self) -> Config:
        """In Compose's format."""
        body = super().compose()
        body["ports"] = [str(port) for port in self.ports]
        body["environment"] = {name: _text(value) for name, value in self.environment.items()}
        if ready := body.pop("ready", None):
            body["x-moorage"] = {**body.get("x-moorage", {}), "ready": ready}
        return {key: value for key, value in body.items() if value not in ([], {})}


class Stack(Part):
    """Services and what they share. Start it with `up`, or write it to a file with `text`."""

    services: dict[str, Service]
    volumes: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    """Named volumes; those that services use and that are missing here are added."""
    networks: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    name: str = "stack"
    """First part of the stack's name."""
    directory: Path | None = Field(default=None, exclude=True)
    """Base of relative build contexts and bind mounts. None: the working directory."""

    def compose(self) -> Config:
        """The Compose project."""
        body = super().compose()
        body.pop("directory", None)
        used = {mount.split(":")[0] for service in self.services.values() for mount in service.volumes if ":" in mount}
        named: dict[str, dict[str, Any]] = {name: {} for name in sorted(used) if not name.startswith((".", "/", "~"))}
        volumes = {**named, **{name: volume or {} for name, volume in self.volumes.items()}}
        shared = {"volumes": volumes, "networks": self.networks}
        return {"name": naming.slug(self.name), **body, **{key: value for key, value in shared.items() if value}}

    def text(self) -> str:
        """A compose file of it, in JSON (which is YAML), with `$` doubled as Compose requires."""
        return json.dumps(_undollared(self.compose()), indent=2)

    @contextmanager
    def up(self, *, wait_timeout_s: float | None = None, keep: bool = False) -> Iterator[RunningStack]:
        """Bring it up under a unique name, with all services ready; at the end of the block it is removed.

        `wait_timeout_s`: longest time for one service, None: as its check says. `keep`: it outlives the block. Raises
        MoorageError, and leaves nothing behind. The next `moorage` call removes the stack of a killed process.
        """
        folder = Path(tempfile.mkdtemp(prefix="moorage-stack-"))
        try:
            file = folder / "compose.json"
            file.touch(mode=0o600)
            file.write_text(self.text(), encoding="utf-8")
            source = source_of(self.directory or Path.cwd(), [str(file)], (), ())
            request = UpRequest(source=source, wait_timeout_s=wait_timeout_s)
            with own_stack(open_world(), request, naming.slug(self.name), keep=keep) as stack:
                yield stack
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_stack(
    world: World, request: UpRequest, base: str, *, kind: str = "py", keep: bool = False
) -> Iterator[RunningStack]:
    """Bring a request up under a unique name, for the duration of the block; `keep`: for longer."""
    finish(lambda: orphans.remove_orphans(world))
    name = stack.unique_name(base, kind)
    with stack.EphemeralStack(world, name) as owned:
        try:
            yield bring_up(world, request.model_copy(update={"name": name}))
        finally:
            if keep:
                owned.keep()
            else:
                finish(owned.remove)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _undollared(data: Any) -> Any:
    if isinstance(data, dict):
        return {_undollared(key): _undollared(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_undollared(value) for value in data]
    return data.replace("$", "$$") if isinstance(data, str) else data
