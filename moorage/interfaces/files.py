"""Files of `$MOORAGE_HOME`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

NOT_A_FILE = "not a file"
"""`reason` of the HomeError for a name at which there is a folder, a pipe or a device."""


class Files(Protocol):
    """Generation files and failure reports in `$MOORAGE_HOME`; each 0600, written whole or not at all."""

    def write(self, name: str, text: str) -> Path:
        """Write a file under a relative name; returns its path. Raises HomeError."""

    def read(self, name: str) -> str | None:
        """The text of a file. None: there is no such file. Raises HomeError, with `reason` NOT_A_FILE too."""

    def remove(self, name: str) -> None:
        """Remove a file; no error if it is gone. Raises HomeError if a link leads to its folder: nothing is removed."""

    def names(self, folder: str) -> Iterator[str]:
        """Names of the files in a folder, relative to the root and sorted; without those in its subfolders."""

    def folders(self, folder: str) -> Iterator[str]:
        """Names of the subfolders of a folder, sorted; relative to the folder."""

    def unfinished(self) -> Iterator[str]:
        """Names of what killed writes have left, sorted: files that have been unfinished for ten minutes."""

    def drop(self, folder: str) -> None:
        """Remove a folder with the files in it; no error if it is gone. A folder with subfolders is kept.

        Raises HomeError if it, or a folder above it, is a link: nothing is removed.
        """
