"""Image builders."""

from __future__ import annotations

from typing import Protocol

from moorage.interfaces.output import Line
from moorage.model.image import Availability, BuildSpec, BuiltImage


class ImageBuilder(Protocol):
    """Builds images, with Compose or Dagger. Either way the image has the same tag, labels, user and entry point."""

    def preflight(self) -> Availability:
        """Whether the builder can be used; takes at most 10 s and has no effects. Raises no MoorageError."""

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        """Build one image, so that the engine has it under its tag.

        Raises ImageError; UnsupportedByBackendError for an unsupported field; BackendUnavailableError. An error or
        `abort` leaves no process, temporary file or nameless image behind.
        """

    def abort(self) -> None:
        """End the running builds: their calls raise ImageError."""
