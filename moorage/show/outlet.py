"""Text streams that never fail."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO


class Outlet:
    """A text stream that never fails: characters that it cannot encode are replaced; once broken, it does nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def line(self, text: str) -> None:
        """Write a line and flush it."""
        self.write(f"{text}\n")
        self.flush()

    def write(self, text: str) -> int:
        """Write text, like a file."""
        if not self._broken:
            try:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self._broken = True
        return len(text)

    def flush(self) -> None:
        """Flush, like a file."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True

    def isatty(self) -> bool:
        """Like a file."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Like a file. Raises OSError if the stream has no file descriptor."""
        return self._stream.fileno()

    def can(self, text: str) -> bool:
        """True if its encoding has these characters."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True


def stands_at(stream: TextIO | None) -> bool:
    """True if the stream is a terminal. A closed or missing stream is not."""
    with contextlib.suppress(ValueError):
        return stream is not None and stream.isatty()
    return False


def terminals() -> tuple[bool, bool]:
    """Whether stdout and stderr of this process go to a terminal."""
    return stands_at(sys.stdout), stands_at(sys.stderr)
