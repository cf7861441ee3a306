"""Builds images with Compose: with BuildKit if buildx is installed, else with the engine's own builder."""

from __future__ import annotations

import re

from moorage.errors import ImageError, MoorageError, UnsupportedByBackendError
from moorage.interfaces import Compose, Engine, ImageBuilder, Line
from moorage.model.image import Availability, BuildSpec, BuiltImage

_CLASSIC = re.compile(r"classic builder doesn't support ([\w .-]+?)(?:,|$)|this builder doesn't support ([\w .-]+)")


class ComposeBuilder(ImageBuilder):
    """Builds images with `compose build`."""

    def __init__(self, compose: Compose, engine: Engine) -> None:
        self._compose = compose
        self._engine = engine

    def preflight(self) -> Availability:
        """Usable if there is a Compose CLI."""
        try:
            version = self._compose.version()
        except MoorageError as error:
            return Availability(backend="compose", usable=False, reason=str(error), hint=error.hint)
        return Availability(backend="compose", usable=True, version=version)

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        """Raises UnsupportedByBackendError for what needs buildx, too."""
        try:
            self._compose.build(spec.stack, spec.file, spec.service, on_line, spec.variables)
        except ImageError as error:
            raise _for_want_of_buildx(error, spec) or error from None
        found = self._engine.image(spec.tag)
        if found is None:
            message = f"services.{spec.service}: Compose built the image, but {spec.tag} does not exist"
            raise ImageError(message, service=spec.service, image=spec.tag, hint="Was it removed? Try again.")
        return BuiltImage(tag=spec.tag, image_id=found[0], repo_digest=self._engine.repo_digest(spec.tag))

    def abort(self) -> None:
        self._compose.abort()


def _for_want_of_buildx(error: ImageError, spec: BuildSpec) -> UnsupportedByBackendError | None:
    """The error for something that Compose cannot build without buildx. None: the build failed for another reason."""
    found = _CLASSIC.search(str(error.fields.get("log") or error))
    if found is None:
        return None
    what = next(part for part in found.groups() if part).strip()
    return UnsupportedByBackendError(
        f"services.{spec.service}.build: Compose does not support {what} without buildx",
        backend="compose",
        key=f"services.{spec.service}.build",
        service=spec.service,
        hint="Install Docker's buildx plugin, or build with `--builder dagger`.",
    )
