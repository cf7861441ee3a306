"""Files of `$MOORAGE_HOME`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Generation files and failure reports in `$MOORAGE_HOME`; each 0600, written whole or not at all."""

    def write(self, name: str, text: str) -> Path:
        """Write a file under a relative name; returns its path. Raises HomeError."""

    def read(self, name: str) -> str | None:
        """The text of a file. None: there is no such file."""

    def remove(self, name: str) -> None:
        """Remove a file; no error if it is gone."""

    def names(self, folder: str) -> Iterator[str]:
        """Names of the files in a folder, relative to the root and sorted; without those in its subfolders."""

    def folders(self, folder: str) -> Iterator[str]:
        """Names of the subfolders of a folder, sorted; relative to the folder."""

    def drop(self, folder: str) -> None:
        """Remove a folder with the files in it; no error if it is gone. A folder with subfolders is kept."""
