"""`interfaces.ImageBuilder` on a machine in memory. It passes the same contract suite as the real ones."""

from __future__ import annotations

from moorage.interfaces import Compose, Engine, ImageBuilder, Line
from moorage.model.image import Availability, BuildSpec, BuiltImage


class FakeBuilder(ImageBuilder):
    """Builds what the fake Compose builds."""

    def __init__(self, compose: Compose, engine: Engine) -> None:
        self._compose = compose
        self._engine = engine

    def preflight(self) -> Availability:
        """Always usable."""
        return Availability(backend="compose", usable=True, version=self._compose.version())

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        self._compose.build(spec.stack, spec.file, spec.service, on_line, spec.variables)
        image_id, _ = self._engine.image(spec.tag) or ("", {})
        return BuiltImage(tag=spec.tag, image_id=image_id, repo_digest=self._engine.repo_digest(spec.tag))

    def abort(self) -> None:
        """Does nothing: no build takes long."""
