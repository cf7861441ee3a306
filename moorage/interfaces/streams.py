"""What goes on inside containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from moorage.model.log import LogRecord, LogSpan
from moorage.model.usage import Sample


class Streams(Protocol):
    """What goes on inside containers while they run."""

    def log(
        self, container: str, span: LogSpan, *, follow: bool = False, on_open: Callable[[Callable[[], None]], None]
    ) -> Iterator[LogRecord]:
        """The entries of a container's log, in its order; empty if it is gone. Raises EngineError.

        `follow`: goes on until the container ends. `on_open` receives what ends it from another thread.
        """

    def sample(self, container: str) -> Sample | None:
        """What the engine has counted for a container up to now. None: it does not run, or is gone."""
