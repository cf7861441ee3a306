"""Comparing versions of programs."""

from __future__ import annotations

import re


def at_least(version: str, oldest: tuple[int, ...]) -> bool:
    """True if `v0.21.8`, `0.21.8-dev` … is at least this version. Unreadable versions (own builds) count as new."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is None or tuple(map(int, found.groups())) >= oldest
