"""Build contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from moorage.model.definition import Config
from moorage.model.image import Survey


class Contexts(Protocol):
    """Build contexts on disk."""

    def digest(self, build: Config) -> str:
        """Digest of a `build` section and all files that it can see.

        Raises DefinitionError: a context or Dockerfile is missing.
        """

    def survey(self, context: Path) -> Survey | None:
        """What a context without a Dockerfile contains. None: it has one, or there is no such directory."""
