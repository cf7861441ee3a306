"""Versions of programs, as far as we compare them."""

from __future__ import annotations

import re


def at_least(version: str, oldest: tuple[int, ...]) -> bool:
    """True: `v0.21.8`, `0.21.8-dev` … is that old or younger. What cannot be read (a build of one's own) passes."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is None or tuple(map(int, found.groups())) >= oldest
