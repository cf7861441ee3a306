"""Compose's durations: Go-style text such as `1m30s`."""

from __future__ import annotations

import re

from moorage.errors import DefinitionError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(text: str | float, where: str) -> float:
    """`1m30s` → 90.0; a bare number is seconds. Raises DefinitionError that names `where`."""
    if isinstance(text, int | float):
        return float(text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _WHOLE.fullmatch(text):
        message = f"{where}: {text!r} is not a duration"
        raise DefinitionError(message, key=where, hint="Examples: 500ms, 30s, 1m30s.")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
