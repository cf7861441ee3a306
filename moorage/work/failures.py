"""Failure reports: what a start that was undone has left to read."""

from __future__ import annotations

import json
import re
from typing import Any

from moorage.interfaces import World


def last_report(world: World, stack: str) -> dict[str, Any] | None:
    """The newest failure report of a stack, secrets hidden in it, its file as `file`. None: there is none."""
    pattern = re.compile(rf"failures/{re.escape(stack)}-\d{{8}}T\d{{12}}-[0-9a-f]+\.json")
    names = sorted(name for name in world.files.names("failures") if pattern.fullmatch(name))
    text = world.files.read(names[-1]) if names else None
    return {**json.loads(text), "file": names[-1]} if text else None
