"""Compose's durations: Go-style text such as `1m30s`."""

from __future__ import annotations

import re
from typing import Any

from moorage.errors import DefinitionError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


_LONGEST_S = (2**63 - 1) // 10**9
"""Longest duration that Go, and so Compose and the engine, can hold: 292 years."""


def seconds(text: Any, where: str) -> float:
    """`1m30s` → 90.0; a bare number is seconds. Raises DefinitionError that names `where`."""
    found: float
    if isinstance(text, int | float) and not isinstance(text, bool):
        found = text
    elif re.fullmatch(r"\d+(\.\d+)?", str(text), re.ASCII):
        found = float(text)
    elif _WHOLE.fullmatch(str(text)):
        found = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(str(text)))
    else:
        message = f"{where}: {text!r} is not a duration"
        raise DefinitionError(message, key=where, hint="Examples: 500ms, 30s, 1m30s.")
    if 0 <= found <= _LONGEST_S:
        return float(found)
    message = f"{where}: {text!r} is negative, or longer than {_LONGEST_S} s"
    raise DefinitionError(message, key=where, hint="Examples: 500ms, 30s, 1m30s.")
