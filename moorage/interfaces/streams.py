"""Logs and resource usage of containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from moorage.model.log import LogRecord, LogSpan
from moorage.model.usage import Sample


class Streams(Protocol):
    """Logs and resource usage of containers."""

    def log(
        self, container: str, span: LogSpan, *, follow: bool = False, on_open: Callable[[Callable[[], None]], None]
    ) -> Iterator[LogRecord]:
        """The entries of a container's log, in order; empty if it is gone. Raises EngineError.

        `follow`: continue until the container ends. `on_open` receives a function that ends it from another thread.
        """

    def sample(self, container: str) -> Sample | None:
        """The engine's counters for a container. None: it is not running, or gone."""
