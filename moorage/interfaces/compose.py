"""The Compose CLI."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from moorage.interfaces.output import Line
from moorage.model.definition import Config, Source


def unheard(_line: str) -> None:
    """Listen to nothing."""


class Reading(Protocol):
    """A canonical project that is being read."""

    def result(self, on_warning: Line = unheard) -> Config:
        """Wait for it; what `Compose.config` gives and raises. Ask once."""

    def cancel(self) -> None:
        """End it, if it has not ended: nobody wants to know any more."""


class Compose(Protocol):
    """The Compose CLI: reads definitions, creates containers, builds and pulls images."""

    def version(self) -> str:
        """Version of the CLI, `5.6.1`. Raises ComposeUnavailableError."""

    def config(
        self, source: Source, name: str | None, environment: Mapping[str, str], on_warning: Line = unheard
    ) -> Config:
        """The canonical project. `name` None: Compose derives it. Raises DefinitionError.

        `on_warning` hears of each key that Compose says to ignore, `services.web.deploy.mode: …`.
        """

    def begin_config(self, source: Source, name: str) -> Reading:
        """Begin a `config` without variables of its own, for who has something else to do meanwhile.

        Whoever asks has to cancel it at the end, whatever happens. Raises DefinitionError.
        """

    def raw_config(self, source: Source) -> Config:
        """The project as written, without replacing variables: for `x-moorage` of services and for port variables.

        Where Compose does not read it so, only the variables that published ports consist of are as written. Secrets
        and configs of an included file have their value as `x-#value` or `content`. Raises DefinitionError.
        """

    def extensions(self, source: Source, name: str, environment: Mapping[str, str]) -> dict[str, Config]:
        """`x-moorage` of each service that has one, its variables replaced as in its file. Raises DefinitionError."""

    def interpolate(self, source: Source, values: Config, environment: Mapping[str, str]) -> Config:
        """`values` with variables replaced by Compose's own rules."""

    def variables(self, source: Source, names: Collection[str], stack: str | None = None) -> dict[str, str]:
        """Those variables of `names` that are set where Compose interpolates (process, env files), with their values.

        `stack`: what `COMPOSE_PROJECT_NAME` is. None: what the environment says.
        """

    def create(self, stack: str, file: Path, services: Sequence[str], recreate: bool, on_line: Line) -> None:
        """Create what `file` defines, and re-create changed containers. Empty `services`: all. Raises EngineError."""

    def build(
        self, stack: str, file: Path, service: str, on_line: Line, variables: Mapping[str, str] | None = None
    ) -> None:
        """Build the image of one service. Raises ImageError.

        `variables`: those that its secrets come from. None: there are none.
        """

    def pull(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        """Pull the image of one service. Raises ImageError."""

    def abort(self) -> None:
        """End the running builds and pulls: their calls raise ImageError."""

    def attends(self, mark: str) -> bool:
        """True: a process on this machine runs a container with this label, `NAME=VALUE`."""

    def end_strays(self, stack: str) -> None:
        """End calls for a stack that a dead Moorage process left running. Call this with the stack's lock held."""
