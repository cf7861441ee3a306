"""Digests of build contexts: of all files that a build can see by Docker's own ignore rules."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from moorage import bounded
from moorage.adapters.context_files import files_in, ignored
from moorage.adapters.project_files import text_of
from moorage.errors import DefinitionError
from moorage.interfaces import Contexts
from moorage.model.image import Survey

_NEVER = (".git", ".env", ".env.*", ".venv", "venv", "**/__pycache__", "**/node_modules", ".dockerignore")
"""Files that never go into the image of a project without a Dockerfile, whatever its .dockerignore says."""
_PIECE = 1 << 18
_TELLING = ("requirements.txt", "pyproject.toml", "package.json", "package-lock.json", "main.py", "app.py", "manage.py")


class BuildContexts(Contexts):
    """Build contexts on disk, each of at most `limit_bytes`."""

    def __init__(self, limit_bytes: int = 8 << 30) -> None:
        self._limit_bytes = limit_bytes
        self._read: dict[Path, tuple[tuple[int, ...], bytes]] = {}
        """File → its state on disk when it was read (device, inode, size, times), and the digest of its content."""

    def digest(self, build: dict[str, Any]) -> str:
        """A remote context counts by its address."""
        whole = sha256(json.dumps(_told(build), sort_keys=True).encode())
        if "dockerfile_inline" not in build and _folder(build):
            whole.update(b"\0Dockerfile\0" + self._content(_existing(build)))
        for name, context in _folders(build):
            if not os.path.isdir(context):
                raise _missing("build.additional_contexts" if name else "build.context", context, "directory")
            whole.update(f"\0\0{name}".encode())
            dockerfile = None if name or "dockerfile_inline" in build else _dockerfile(build)
            for piece in self._pieces(context, dockerfile):
                whole.update(piece)
        return whole.hexdigest()[:16]

    def dockerfile(self, build: dict[str, Any]) -> str:
        if "dockerfile_inline" in build:
            return str(build["dockerfile_inline"])
        return text_of(_existing(build))[0] if _folder(build) else ""

    def _pieces(self, context: Path, dockerfile: Path | None) -> Iterator[bytes]:
        """Name, mode and content of each file, in order of names, but the Dockerfile's. None: it is elsewhere."""
        inside = str(dockerfile.relative_to(context)) if dockerfile and dockerfile.is_relative_to(context) else ""
        names = files_in(context, ignored(context, str(dockerfile or "")), [inside] if inside else [])
        self._refuse_too_much(context, names)
        for name in names:
            path = context / name
            if name == inside:
                continue
            if path.is_symlink():
                yield os.fsencode(f"\0{name}\0{path.readlink()}")
            elif os.path.isfile(path):
                yield os.fsencode(f"\0{name}\0{path.stat().st_mode & 0o777:o}\0")
                yield self._content(path)

    def _refuse_too_much(self, context: Path, names: list[str]) -> None:
        """Before anything is read: a sparse file of a terabyte takes no room, but hours to read."""
        left = self._limit_bytes
        for name in names:
            with suppress(OSError):
                left -= os.lstat(context / name).st_size
            if left < 0:
                limit = bounded.amount(self._limit_bytes)
                message = f"build.context: {context}: more than {limit}, with {name}"
                hint = "Name what the build does not need in .dockerignore, or raise MOORAGE_CONTEXT_LIMIT_BYTES."
                raise DefinitionError(message, key="build.context", file=str(context), hint=hint)

    def _content(self, path: Path) -> bytes:
        """Digest of a file, read piece by piece; once for as long as it does not change."""
        try:
            with bounded.open_file(path) as file:
                found = os.fstat(file.fileno())
                state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                known = self._read.get(path)
                if known is None or known[0] != state:
                    known = self._read[path] = (state, _digest_of(file, found.st_size))
        except OSError as error:
            message = f"build.context: {path}: {error.strerror}"
            hint = "Name it in .dockerignore, or allow that it is read."
            raise DefinitionError(message, key="build.context", file=str(path), hint=hint) from None
        return known[1]

    def survey(self, context: Path) -> Survey | None:
        if not os.path.isdir(context) or os.path.exists(context / "Dockerfile"):
            return None
        seen = {PurePath(name).parts for name in files_in(context, [*ignored(context, ""), *_NEVER])}
        top = {parts[0] + ("/" if os.path.isdir(context / parts[0]) else "") for parts in seen if parts}
        telling = (context / name for name in _TELLING if name in top)
        texts = {file.name: text_of(file)[0] for file in telling}
        inner = {"/".join(parts) for parts in seen if len(parts) == 2 and parts[1] in ("main.py", "__main__.py")}
        return Survey(
            names=tuple(sorted(top - {"Dockerfile", ".dockerignore"})), texts=texts | dict.fromkeys(sorted(inner), "")
        )


def _digest_of(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first `size` bytes: a file that grows meanwhile has no end."""
    digest = sha256()
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        digest.update(piece)
        size -= len(piece)
    return digest.digest()


_NOT_IN_IMAGE = frozenset(
    {"context", "dockerfile", "dockerfile_inline", "cache_from", "cache_to", "no_cache", "pull", "ssh"}
)
"""What is read (and counts by its content), or only helps the builder."""


def _told(build: dict[str, Any]) -> dict[str, Any]:
    """What a `build` section says in words, without places on this machine."""
    told = {key: value for key, value in build.items() if key not in _NOT_IN_IMAGE}
    more = build.get("additional_contexts") or {}
    told["additional_contexts"] = {key: "" if Path(str(one)).is_absolute() else one for key, one in more.items()}
    if not Path(str(build.get("context", "."))).is_absolute():
        told |= {"context": build.get("context"), "dockerfile": build.get("dockerfile")}
    return told


def _folders(build: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """The contexts on this machine by name; the main one has none."""
    more = build.get("additional_contexts") or {}
    for name, context in (("", build.get("context", ".")), *sorted(more.items())):
        if Path(str(context)).is_absolute():
            yield name, Path(str(context))


def _folder(build: dict[str, Any]) -> Path | None:
    """The context. None: it is not on this machine."""
    return next((context for name, context in _folders(build) if not name), None)


def _dockerfile(build: dict[str, Any]) -> Path:
    """Where the Dockerfile is."""
    return Path(os.path.normpath(Path(str(build.get("context", "."))) / str(build.get("dockerfile") or "Dockerfile")))


def _existing(build: dict[str, Any]) -> Path:
    """The same. Raises DefinitionError: it is not there, nor maybe its context."""
    context, file = Path(str(build.get("context", "."))), _dockerfile(build)
    if not os.path.isdir(context):
        raise _missing("build.context", context, "directory")
    if not os.path.isfile(file):
        raise _missing("build.dockerfile", file, "file")
    return file


def _missing(key: str, path: Path, what: str) -> DefinitionError:
    return DefinitionError(f"{key}: {path}: no such {what}", key=key, file=str(path), hint="Check the path.")
