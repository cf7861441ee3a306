"""Build contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from moorage.model.definition import Config
from moorage.model.image import Survey


class Contexts(Protocol):
    """Build contexts on disk."""

    def digest(self, build: Config) -> str:
        """Digest of a `build` section and all files that it can see; with `platform`, that of its service.

        Where they lie makes no difference, nor does what only helps the builder (`cache_from`). Raises DefinitionError:
        a context or Dockerfile is missing.
        """

    def dockerfile(self, build: Config) -> str:
        """The text of the Dockerfile. Empty: it is in a context that is not on this machine.

        Raises DefinitionError: it is missing.
        """

    def survey(self, context: Path) -> Survey | None:
        """What a context without a Dockerfile contains. None: it has one, or there is no such directory."""
