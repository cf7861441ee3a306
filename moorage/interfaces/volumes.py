"""Volumes of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from moorage.model.volume import Volume


class Volumes(Protocol):
    """Volumes of the engine, and their content as tar streams with the members `ROOT` and `ROOT/…`.

    Content is read and written through a container that is created from an existing image and never started.
    """

    def all(self, *, sized: bool = False) -> tuple[Volume, ...]:
        """All volumes, ordered by name, with their users. `sized`: and with their sizes, which takes long.

        A size is None where the engine does not tell it, such as while it measures for somebody else.
        """

    def find(self, name: str) -> Volume | None:
        """A volume, without its size. None: there is no volume of that name."""

    def make(self, volume: Volume) -> None:
        """Create an empty volume with this name, driver, options and labels. Raises EngineError."""

    def read(self, name: str, image: str, stack: str) -> Iterator[bytes]:
        """Content of a volume. `image`: any existing image. `stack`: the stack this is for. Raises EngineError."""

    def write(self, name: str, image: str, stack: str, tar: Iterable[bytes]) -> None:
        """Unpack a stream into a volume, with its owners, modes and links. Raises EngineError."""

    def dump(self, container: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[bytes]:
        """Stdout of a program in a running container. Raises EngineError at the end if the program failed."""

    def load(
        self, container: str, command: Sequence[str], environment: Mapping[str, str], stdin: Iterable[bytes]
    ) -> None:
        """Run a program in a running container with `stdin`. Raises EngineError with its output if it failed."""

    def helpers(self, stack: str) -> tuple[str, ...]:
        """Names of the containers of `read` and `write`: under way, or left by a crash or an engine that was late."""

    def remove_helpers(self, stack: str) -> None:
        """Remove them."""

    def free_bytes(self) -> int | None:
        """Free space where the engine stores volumes. None: not known."""
