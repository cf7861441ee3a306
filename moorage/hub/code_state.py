"""What the code is that a process has imported: another state means that it has to be imported anew."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import moorage
from moorage.hub.project import project_directory

_PACKAGES = ("flows", "tasks", "blocks")
_FILES = ("prefect.yaml", "pyproject.toml", "requirements.lock")


def code_state() -> str:
    """Digest of names, sizes and times of our files, and of what is installed beside them. Some milliseconds."""
    digest = hashlib.sha256()
    for path, found in sorted(_looked_at()):
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns} {found.st_ino}\n".encode())
    return digest.hexdigest()


def _looked_at() -> Iterator[tuple[str, os.stat_result]]:
    directory = project_directory()
    for package in (Path(moorage.__file__).parent, *(directory / name for name in _PACKAGES)):
        yield from _sources(str(package))
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # A folder changes when something is installed.
    for path in (*(directory / name for name in _FILES), *map(Path, installed)):
        with suppress(OSError):
            yield str(path), path.stat()


def _sources(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                yield entry.path, entry.stat()
