"""Time limits of work that others do for people: a machine that is busy gets as much longer as its work takes."""

from __future__ import annotations

_MOST = 10.0
"""A limit is made so many times longer at most: who hangs is found out in the end."""


def extended_s(limit_s: float, load: float, cores: int) -> float:
    """A limit in seconds on a machine where `load` processes want `cores` processors: never less than `limit_s`."""
    return limit_s * min(max(1.0, load / max(cores, 1)), _MOST)


def words(what: str, limit_s: float) -> str:
    """What is waited for, for people: `waiting: the engine has not answered for 5 s; this machine is busy`."""
    return f"waiting: {what} for {limit_s:.0f} s; this machine is busy"
