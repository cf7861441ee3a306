"""Files of a project, which may be anything: read as far as they are text of a sensible size."""

from __future__ import annotations

from pathlib import Path

from moorage import bounded


def text_of(path: Path) -> tuple[str, str]:
    """The text of a file, at most the first 256 KiB of it, and why that is not all. Empty: it is all.

    Does not wait for anybody: neither a pipe nor a device is read. The engine takes no secret of more than 500 KB; a
    file with so many values would slow down every line of a log.
    """
    try:
        content, whole = bounded.beginning_of(path, bounded.TEXT_BYTES)
    except OSError as error:
        return "", error.strerror or str(error)
    return content.decode(errors="replace"), "" if whole else f"larger than {bounded.amount(bounded.TEXT_BYTES)}"
