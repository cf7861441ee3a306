"""More windows to the world, as protocols: those that `interfaces.py` has no room for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from moorage.model.volume import Volume


class Volumes(Protocol):
    """Volumes of the engine, and what is in them as tar streams: the members are `ROOT` and `ROOT/…`.

    Read and written by way of a container that is made of an image that is there, and never started.
    """

    def all(self) -> tuple[Volume, ...]:
        """All volumes, by name, with sizes and who mounts them."""

    def find(self, name: str) -> Volume | None:
        """One, without its size. None: there is none of that name."""

    def make(self, volume: Volume) -> None:
        """Make it, empty: name, driver, options and labels are as given. Raises EngineError."""

    def read(self, name: str, image: str, stack: str) -> Iterator[bytes]:
        """What is in a volume. `image`: any that is there. `stack`: on whose behalf. Raises EngineError."""

    def write(self, name: str, image: str, stack: str, tar: Iterable[bytes]) -> None:
        """Unpack into a volume: owners, modes and links as they are in the stream. Raises EngineError."""

    def dump(self, container: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[bytes]:
        """What a program in a running container writes to stdout. Raises EngineError at the end if it failed."""

    def load(
        self, container: str, command: Sequence[str], environment: Mapping[str, str], stdin: Iterable[bytes]
    ) -> None:
        """Run a program in a running container on `stdin`. Raises EngineError if it failed, with what it wrote."""

    def remove_helpers(self, stack: str) -> None:
        """Remove the containers that a crash of `read` or `write` has left behind."""

    def free_bytes(self) -> int | None:
        """What is free where the engine keeps volumes. None: it is out of sight."""
