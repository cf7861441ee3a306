"""Files in a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from moorage.errors import HomeError
from moorage.interfaces import Files


class MemoryFiles(Files):
    """Files in a dictionary. The paths that it returns do not exist."""

    def __init__(self, root: Path = Path("/memory")) -> None:
        self.root = root
        self._texts: dict[PurePosixPath, str] = {}

    def write(self, name: str, text: str) -> Path:
        self._texts[self._checked(name)] = text
        return self.root / self._checked(name)

    def read(self, name: str) -> str | None:
        return self._texts.get(self._checked(name))

    def remove(self, name: str) -> None:
        self._texts.pop(self._checked(name), None)

    def names(self, folder: str) -> Iterator[str]:
        parent = self._checked(folder)
        return iter(sorted(str(name) for name in self._texts if name.parent == parent))

    def folders(self, folder: str) -> Iterator[str]:
        parent = self._checked(folder)
        inside = [name.relative_to(parent) for name in self._texts if parent in name.parents]
        return iter(sorted({name.parts[0] for name in inside if len(name.parts) > 1}))

    def unfinished(self) -> Iterator[str]:
        return iter(())  # a write is one effect here

    def drop(self, folder: str) -> None:
        for name in tuple(self.names(folder)):
            self.remove(name)

    def _checked(self, name: str) -> PurePosixPath:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise HomeError(f"{name!r} does not name a file inside {self.root}", path=str(self.root))
        return path
