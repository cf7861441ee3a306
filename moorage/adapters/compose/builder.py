"""Builds images with Compose: with BuildKit if buildx is installed, else with the engine's own builder."""

from __future__ import annotations

import re

from moorage.errors import ImageError, MoorageError, UnsupportedByBackendError
from moorage.interfaces import Compose, Engine, ImageBuilder, Line
from moorage.model.image import Availability, BuildSpec, BuiltImage
from moorage.rules import engines

_CLASSIC = re.compile(
    r"classic builder doesn't support ([\w .-]+?)(?:[,;]|$)|this builder doesn't support ([\w .-]+)"
    r"|(?:^|\s)(\S{1,40}(?: option)?) requires BuildKit"
)
"""What Compose or the engine's own builder says about something that only BuildKit can do."""
_TOO_OLD = re.compile(r"requires buildx (\S+) or later")
_BY_THE_ENGINE = {"DOCKER_BUILDKIT": "0"}
"""Compose then has the engine's own builder do it."""


class ComposeBuilder(ImageBuilder):
    """Builds images with `compose build`."""

    def __init__(self, compose: Compose, engine: Engine) -> None:
        self._compose = compose
        self._engine = engine
        self._wanted = ""

    def preflight(self) -> Availability:
        """Usable if there is a Compose CLI."""
        try:
            version = self._compose.version()
        except MoorageError as error:
            return Availability(backend="compose", usable=False, reason=str(error), hint=error.hint)
        return Availability(backend="compose", usable=True, version=version)

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        """By the engine's own builder where buildx is too old for Compose.

        Raises UnsupportedByBackendError for what needs buildx, too.
        """
        try:
            self._build(spec, on_line)
        except ImageError as error:
            raise _for_want_of_buildx(error, spec, self._wanted) or error from None
        found = self._engine.image(spec.tag)
        if found is None:
            message = f"services.{spec.service}: Compose built the image, but {spec.tag} does not exist"
            raise ImageError(message, service=spec.service, image=spec.tag, hint="Was it removed? Try again.")
        return BuiltImage(tag=spec.tag, image_id=found[0], repo_digest=self._engine.repo_digest(spec.tag))

    def _build(self, spec: BuildSpec, on_line: Line) -> None:
        by_buildx = self._engine.product() == engines.DOCKER  # it would ask another engine for what only Docker has
        if by_buildx and not self._wanted:
            try:
                self._compose.build(spec.stack, spec.file, spec.service, on_line, spec.variables)
                return
            except ImageError as error:  # before anything was built: nothing is built twice
                found = _TOO_OLD.search(_said(error))
                if found is None:
                    raise
            self._wanted = found[1]
        if by_buildx:
            on_line(f"buildx is older than {self._wanted}, which Compose asks for: the engine's own builder is used")
        self._compose.build(spec.stack, spec.file, spec.service, on_line, {**spec.variables, **_BY_THE_ENGINE})

    def abort(self) -> None:
        self._compose.abort()


def _said(error: ImageError) -> str:
    return str(error.fields.get("log") or error)


def _for_want_of_buildx(error: ImageError, spec: BuildSpec, wanted: str) -> UnsupportedByBackendError | None:
    """The error for something that is not built without buildx. None: the build failed for another reason.

    `wanted`: the version that Compose asks for. Empty: there is no buildx, or it is not too old.
    """
    found = _CLASSIC.search(_said(error))
    if found is None:
        return None
    what = next(part for part in found.groups() if part).strip()
    newer = "a newer buildx" if wanted else "Docker's buildx plugin"
    lacking = f"a buildx of {wanted} or later" if wanted else "buildx"
    return UnsupportedByBackendError(
        f"services.{spec.service}.build: Compose does not support {what} without {lacking}",
        backend="compose",
        key=f"services.{spec.service}.build",
        service=spec.service,
        hint=f"Install {newer} (`moorage doctor` says which one is found), or build with `--builder dagger`.",
    )
