"""Files of a project, which may be anything: read as far as they are text of a sensible size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MOST_BYTES = 256 << 10
"""The engine takes no secret of more than 500 KB; a file with so many values would slow down every line of a log."""


def text_of(path: Path) -> tuple[str, str]:
    """The text of a file, at most the first 256 KiB of it, and why that is not all. Empty: it is all.

    Does not wait for anybody: neither a pipe nor a device is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        return "", getattr(error, "strerror", None) or str(error)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "", "not a regular file"
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        return "", error.strerror or str(error)
    finally:
        os.close(descriptor)
    left = "larger than 256 KiB" if len(content) > _MOST_BYTES else ""
    return content[:_MOST_BYTES].decode(errors="replace"), left
