"""The Docker engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from moorage.errors import EngineError
from moorage.model.engine import EnginePlace
from moorage.model.image import StoredImage
from moorage.model.state import Container, Observed


class Engine(Protocol):
    """The Docker engine: observes, starts, stops, removes. `container` is always a name or an id."""

    def ping(self) -> str:
        """Version of the engine. Raises EngineUnavailableError."""

    def product(self) -> str:
        """Name of the engine, as it was when it was first asked: `Docker Engine`, `Podman Engine`. As `ping`."""

    def is_rootless(self) -> bool:
        """Whether a user runs it who is not root: its containers' addresses are in a network of its own. As `ping`."""

    def has_limits(self) -> bool:
        """Whether it has control groups, without which it keeps no limits and measures nothing. As `ping`."""

    def place(self) -> EnginePlace:
        """Where it is, and what names it; it is not asked. Raises EngineUnavailableError: its context is gone."""

    def identity(self) -> str:
        """Its own name for itself, which no other engine has. Empty: it has none. Raises EngineUnavailableError."""

    def observe(self, stack: str) -> Observed:
        """Everything on the engine with Compose's project label for one stack, whether ours or not.

        A container whose labels make no sense is among `unreadable` only, here and in all other lists.
        """

    def observe_each(self, stacks: Collection[str]) -> dict[str, Observed | EngineError]:
        """The same of many stacks, by one look at the lists of all. An error: that one cannot be looked at."""

    def containers(self, stack: str, service: str) -> tuple[Container, ...]:
        """The containers of one service, by replica number."""

    def init_containers(self, stack: str, service: str) -> tuple[Container, ...]:
        """The init containers (`pre_start`) that Compose has made for one service, in their order."""

    def stacks(self) -> dict[str, dict[str, str]]:
        """All Compose projects on the engine, ours and others: name → labels of one of its containers."""

    def stacks_of(self, home: str) -> frozenset[str]:
        """Names of the stacks of one `$MOORAGE_HOME` that have containers, networks or volumes on the engine."""

    def inspect(self, container: str) -> Container | None:
        """One container as it is now. None: it does not exist."""

    def published_ports(self) -> frozenset[tuple[int, str]]:
        """(port, protocol) of every port published by a running container."""

    def publishers(self) -> Mapping[tuple[int, str], str]:
        """(port, protocol) of every published port → name of the running container."""

    def start(self, container: str) -> None:
        """Start it; no effect if it is running. Raises PortTakenError, EngineError."""

    def stop(self, container: str, grace_s: float) -> None:
        """Send the stop signal, and SIGKILL after `grace_s`; no effect if it is stopped or gone."""

    def kill(self, container: str, signal: str = "SIGKILL") -> None:
        """Send a signal; no effect if it is stopped or gone."""

    def remove(self, container: str, volumes: bool) -> None:
        """Remove it by force; `volumes`: its anonymous volumes too. No effect if it is gone."""

    def rename(self, container: str, name: str) -> None:
        """Rename a container. Raises EngineError: it is gone, or the name is taken."""

    def hold(self, name: str, image: str, labels: Mapping[str, str], volumes: Mapping[str, str]) -> None:
        """Create a placeholder container that only holds volumes (path → name). Raises EngineError if one is gone.

        Compose replaces it, and the replacement inherits the anonymous volumes.
        """

    def remove_network(self, name: str) -> None:
        """Remove a network; no effect if it is gone. Raises EngineError while running containers use it."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume; no effect if it is gone. Raises EngineError while containers mount it."""

    def owner(self, kind: str, name: str) -> Mapping[str, str]:
        """The labels of a `network` or `volume`. Empty: none, or it does not exist."""

    def named(self, kind: str) -> Mapping[str, Mapping[str, str]]:
        """Everything of a kind, `container`, `network` or `volume`, whoever made it: name → labels."""

    def image(self, reference: str) -> tuple[str, dict[str, str]] | None:
        """(id, labels) of an image. None: it does not exist."""

    def tagged_at(self, reference: str) -> datetime | None:
        """When an image was given a name last. None: the engine does not know, or it does not exist."""

    def repo_digest(self, reference: str) -> str | None:
        """The image's `name@sha256:…` in a registry. None: no registry is known, or there is no such image."""

    def load(self, file: Path) -> str:
        """Load the only image of an archive in the format of `docker save`; returns its id. Raises ImageError."""

    def tag(self, image_id: str, tag: str) -> None:
        """Add a tag to an image. Raises ImageError if the image is gone."""

    def untag(self, tag: str) -> None:
        """Remove a tag, and the image with its last tag. No effect if it is gone or used by a container."""

    def tags(self, prefix: str) -> tuple[str, ...]:
        """All image tags that start with `prefix`."""

    def stored_images(self) -> tuple[StoredImage, ...]:
        """All images on the engine's disk, whoever made them. One that goes meanwhile may be left out."""

    def remove_image(self, image_id: str) -> None:
        """Remove an image with all its names, and what it alone was built on. No effect if it is gone or in use."""

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str = "",
        working_dir: str | None = None,
        environment: Sequence[str] = (),
        privileged: bool = False,
        timeout_s: float | None = None,
    ) -> tuple[int, str]:
        """Run a command in a running container; returns exit code and end of the output. Raises EngineError.

        The error has `timed_out` if the command has not ended after `timeout_s`; it is killed then, where that is
        possible. None: it may take as long as it likes.
        """

    def logs(self, container: str, tail: int | None) -> str:
        """The output of both streams; empty if the container is gone. `tail` None: all of it.

        Of a very long one (many megabytes) only the end.
        """

    def put_file(self, container: str, path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
        """Write one file into a container, even before its start; missing directories are created."""
