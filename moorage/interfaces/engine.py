"""The Docker engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from moorage.model.state import Container, Observed


class Engine(Protocol):
    """The Docker engine: looks, starts, stops, removes. All names are names or ids of containers."""

    def ping(self) -> str:
        """Version of the engine. Raises EngineUnavailableError."""

    def observe(self, stack: str) -> Observed:
        """What is there of one stack, ours or not: all that bears Compose's project label."""

    def containers(self, stack: str, service: str) -> tuple[Container, ...]:
        """The containers of one service, by replica number."""

    def stacks(self) -> dict[str, dict[str, str]]:
        """Names of all Compose projects on the engine, ours and others', each with the labels of one container."""

    def stacks_of(self, home: str) -> frozenset[str]:
        """Names of the stacks that one `$MOORAGE_HOME` has containers, networks or volumes of on the engine."""

    def inspect(self, container: str) -> Container | None:
        """One container as it is now. None: it does not exist."""

    def published_ports(self) -> frozenset[tuple[int, str]]:
        """(port, protocol) of every port published by a running container."""

    def publishers(self) -> Mapping[tuple[int, str], str]:
        """The same → name of that container."""

    def start(self, container: str) -> None:
        """Start; no effect on a running one. Raises PortTakenError, EngineError."""

    def stop(self, container: str, grace_s: float) -> None:
        """SIGTERM (or the image's stop signal), SIGKILL after `grace_s`; no effect on a stopped one."""

    def kill(self, container: str, signal: str = "SIGKILL") -> None:
        """Send a signal."""

    def remove(self, container: str, volumes: bool) -> None:
        """Remove by force; `volumes`: its anonymous ones too. No effect if it is gone."""

    def rename(self, container: str, name: str) -> None:
        """Give a container another name. Raises EngineError: it is gone, or somebody has the name."""

    def hold(self, name: str, image: str, labels: Mapping[str, str], volumes: Mapping[str, str]) -> None:
        """Create a container that only holds volumes (path → name). Raises EngineError, also when one of them is gone.

        It is there for Compose to replace: the replacement inherits the anonymous volumes.
        """

    def remove_network(self, name: str) -> None:
        """Remove a network. No effect if it is gone."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume. No effect if it is gone."""

    def owner(self, kind: str, name: str) -> Mapping[str, str]:
        """The labels of a `network` or `volume`. Empty: none, or it does not exist."""

    def image(self, reference: str) -> tuple[str, dict[str, str]] | None:
        """(id, labels) of an image. None: not there."""

    def repo_digest(self, reference: str) -> str | None:
        """`name@sha256:…` by which a registry knows an image. None: none does, or it is not here."""

    def load(self, file: Path) -> str:
        """Load the one image of an archive (as `docker save` writes them); gives its id. Raises ImageError."""

    def tag(self, image_id: str, tag: str) -> None:
        """Give an image a name. Raises ImageError if the image is gone."""

    def untag(self, tag: str) -> None:
        """Take a name away (and the image with its last name). No effect if it is gone or in use."""

    def tags(self, prefix: str) -> tuple[str, ...]:
        """All image tags that start with `prefix`."""

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str = "",
        working_dir: str | None = None,
        environment: Sequence[str] = (),
        privileged: bool = False,
    ) -> tuple[int, str]:
        """Run a command in a running container; exit code and the end of its output. Raises EngineError."""

    def logs(self, container: str, tail: int | None) -> str:
        """What it wrote, both streams. `tail` None: all."""

    def put_file(self, container: str, path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
        """Write one file into a container, also before its start."""
