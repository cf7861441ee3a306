"""Tar archives for copying a file into a container."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import PurePosixPath


def archive_of(path: str, content: bytes, mode: int, uid: int, gid: int) -> bytes:
    """A tar archive of one file and the directories above it."""
    buffer = io.BytesIO()
    relative = PurePosixPath(path).relative_to("/")
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for parent in list(reversed(relative.parents))[1:]:
            folder = tarfile.TarInfo(str(parent))
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, round(time.time())
            archive.addfile(folder)
        entry = tarfile.TarInfo(str(relative))
        entry.size, entry.mode, entry.uid, entry.gid, entry.mtime = len(content), mode, uid, gid, round(time.time())
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
