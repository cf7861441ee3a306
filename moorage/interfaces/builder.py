"""Who builds images."""

from __future__ import annotations

from typing import Protocol

from moorage.interfaces.output import Line
from moorage.model.image import Availability, BuildSpec, BuiltImage


class ImageBuilder(Protocol):
    """Builds images: Compose or Dagger. What comes of it is the same in use: tag, labels, user, entry point."""

    def preflight(self) -> Availability:
        """Whether it can be used, found out within 5 s and without an effect. Raises nothing of Moorage's."""

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        """Build one image and have it on the engine under its tag.

        Raises ImageError; UnsupportedByBackendError for a field that it cannot honour; BackendUnavailableError. After
        an error or `abort` neither a process, a temporary file nor an image without a name is left.
        """

    def abort(self) -> None:
        """End the builds under way: their calls raise ImageError."""
