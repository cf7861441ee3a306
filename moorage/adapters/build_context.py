"""Digests of build contexts: of all files that a build can see by Docker's own ignore rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path, PurePath
from typing import Any

from docker.utils.build import exclude_paths

from moorage.adapters.project_files import text_of
from moorage.errors import DefinitionError
from moorage.interfaces import Contexts
from moorage.model.image import Survey

_NEVER = (".git", ".env", ".env.*", ".venv", "venv", "**/__pycache__", "**/node_modules", ".dockerignore")
"""Files that never go into the image of a project without a Dockerfile, whatever its .dockerignore says."""
_TELLING = ("requirements.txt", "pyproject.toml", "package.json", "package-lock.json", "main.py", "app.py", "manage.py")


class BuildContexts(Contexts):
    """Build contexts on disk."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, ...], bytes]] = {}
        """File → its state on disk when it was read (device, inode, size, times), and the digest of its content."""

    def digest(self, build: dict[str, Any]) -> str:
        """A remote context counts by its address."""
        whole = sha256(json.dumps({k: v for k, v in build.items() if k != "labels"}, sort_keys=True).encode())
        contexts = [str(build.get("context", ".")), *map(str, (build.get("additional_contexts") or {}).values())]
        for context in contexts:
            if Path(context).is_absolute():
                _require(Path(context), build)
                for piece in self._pieces(Path(context), str(build.get("dockerfile") or "Dockerfile")):
                    whole.update(piece)
        return whole.hexdigest()[:16]

    def _pieces(self, context: Path, dockerfile: str) -> Iterator[bytes]:
        """Name, mode and content of each file, in order of names."""
        for name in sorted(exclude_paths(str(context), ignored(context, dockerfile), dockerfile=dockerfile)):
            path = context / name
            if path.is_symlink():
                yield f"\0{name}\0{path.readlink()}".encode()
            elif path.is_file():
                yield f"\0{name}\0{path.stat().st_mode & 0o777:o}\0".encode()
                yield self._content(path)

    def _content(self, path: Path) -> bytes:
        """Digest of a file, read piece by piece; once for as long as it does not change."""
        found = path.stat()
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._read.get(path)
        if known is None or known[0] != state:
            with path.open("rb") as file:
                known = self._read[path] = (state, file_digest(file, "sha256").digest())
        return known[1]

    def survey(self, context: Path) -> Survey | None:
        if not context.is_dir() or (context / "Dockerfile").exists():
            return None
        seen = {PurePath(name).parts for name in exclude_paths(str(context), [*ignored(context, ""), *_NEVER])}
        top = {parts[0] + ("/" if (context / parts[0]).is_dir() else "") for parts in seen if parts}
        telling = (context / name for name in _TELLING if name in top)
        texts = {file.name: text_of(file)[0] for file in telling}
        inner = {"/".join(parts) for parts in seen if len(parts) == 2 and parts[1] in ("main.py", "__main__.py")}
        return Survey(
            names=tuple(sorted(top - {"Dockerfile", ".dockerignore"})), texts=texts | dict.fromkeys(sorted(inner), "")
        )


def _require(context: Path, build: dict[str, Any]) -> None:
    if not context.is_dir():
        message = f"build.context: {context}: no such directory"
        raise DefinitionError(message, key="build.context", file=str(context), hint="Check the path.")
    dockerfile = context / str(build.get("dockerfile") or "Dockerfile")
    if "dockerfile_inline" not in build and str(context) == build.get("context") and not dockerfile.is_file():
        message = f"build.dockerfile: {dockerfile}: no such file"
        raise DefinitionError(message, key="build.dockerfile", file=str(dockerfile), hint="Check the path.")


def ignored(context: Path, dockerfile: str) -> list[str]:
    """Patterns of files that a build ignores: from `<Dockerfile>.dockerignore`, else `.dockerignore`.

    See Docker's documentation, "build context".
    """
    for file in (context / f"{dockerfile}.dockerignore", context / ".dockerignore"):
        if file.is_file():
            lines = (line.strip() for line in text_of(file)[0].splitlines())
            return [line for line in lines if line and not line.startswith("#")]
    return []
