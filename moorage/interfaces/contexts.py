"""Build contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from moorage.model.definition import Config
from moorage.model.image import Survey


class Contexts(Protocol):
    """Build contexts on disk."""

    def digest(self, build: Config) -> str:
        """Digest of a `build` section and of all files it can see. Raises DefinitionError: a context is missing."""

    def survey(self, context: Path) -> Survey | None:
        """What lies in a context without a Dockerfile. None: there is one, or no such directory."""
