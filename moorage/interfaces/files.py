"""Files of `$MOORAGE_HOME`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Generation files and failure reports of `$MOORAGE_HOME`; each 0600, written whole or not at all."""

    def write(self, name: str, text: str) -> Path:
        """Write under a relative name and give the path. Raises HomeError."""

    def read(self, name: str) -> str | None:
        """The text. None: there is no such file."""

    def remove(self, name: str) -> None:
        """Remove; no error if it is gone."""

    def names(self, folder: str) -> Iterator[str]:
        """Relative names of the files in a folder."""

    def folders(self, folder: str) -> Iterator[str]:
        """Names of the folders in a folder, without the folder's own."""

    def drop(self, folder: str) -> None:
        """Remove a folder with the files in it; no error if it is gone. Folders below it keep it."""
