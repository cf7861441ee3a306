"""Images by Compose: BuildKit where buildx is there, the engine's own builder where not."""

from __future__ import annotations

import re

from moorage.errors import ImageError, MoorageError, UnsupportedByBackendError
from moorage.interfaces import Compose, Engine, Line
from moorage.model.image import Availability, BuildSpec, BuiltImage

_CLASSIC = re.compile(r"classic builder doesn't support ([\w .-]+?)(?:,|$)|this builder doesn't support ([\w .-]+)")


class ComposeBuilder:
    """`ImageBuilder` by `compose build`."""

    def __init__(self, compose: Compose, engine: Engine) -> None:
        self._compose = compose
        self._engine = engine

    def preflight(self) -> Availability:
        """Usable wherever there is a Compose CLI."""
        try:
            version = self._compose.version()
        except MoorageError as error:
            return Availability(backend="compose", usable=False, reason=str(error), hint=error.hint)
        return Availability(backend="compose", usable=True, version=version)

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        """Have Compose build it. Raises ImageError; UnsupportedByBackendError for what needs buildx."""
        try:
            self._compose.build(spec.stack, spec.file, spec.service, on_line)
        except ImageError as error:
            raise _for_want_of_buildx(error, spec) or error from None
        found = self._engine.image(spec.tag)
        if found is None:
            message = f"services.{spec.service}: Compose built it, and {spec.tag} is not there"
            raise ImageError(message, service=spec.service, image=spec.tag, hint="Did someone remove it? Try again.")
        return BuiltImage(tag=spec.tag, image_id=found[0], repo_digest=self._engine.repo_digest(spec.tag))

    def abort(self) -> None:
        """End the builds under way."""
        self._compose.abort()


def _for_want_of_buildx(error: ImageError, spec: BuildSpec) -> UnsupportedByBackendError | None:
    """What Compose refuses on an engine without BuildKit, as the error it is. None: it failed for another cause."""
    found = _CLASSIC.search(str(error.fields.get("log") or error))
    if found is None:
        return None
    what = next(part for part in found.groups() if part).strip()
    return UnsupportedByBackendError(
        f"services.{spec.service}.build: Compose without buildx cannot honour {what}",
        backend="compose",
        key=f"services.{spec.service}.build",
        service=spec.service,
        hint="Install Docker's buildx plugin, or build with `--builder dagger`.",
    )
