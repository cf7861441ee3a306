"""The systems that Moorage runs on: asked before anything is imported that needs what only they have."""

from __future__ import annotations

import sys

from moorage.errors import MoorageError


def check() -> None:
    """Raises MoorageError on Windows: it has none of the locks, signals and folders that Moorage needs."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        name = "Windows" if sys.platform in ("win32", "cygwin") else sys.platform
        raise MoorageError(
            f"Moorage runs on Linux and macOS; this Python is one for {name}",
            hint="On Windows use WSL2: run `wsl --install`, then install and run Moorage in there.",
        ) from None
