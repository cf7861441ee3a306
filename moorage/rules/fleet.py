"""How many stacks of a fleet are begun at once, and what came of all of them."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.model.fleet import FleetRow

_PER_CORE = 2
"""Starts mostly wait: for health checks, for the engine."""
_MEMORY_BYTES = 256 << 20
"""What a start may need for itself while it lasts: Compose, a build's context, the first moments of services."""
_NAMED = 5


def at_once(cores: int, free_bytes: int) -> int:
    """How many stacks are started at the same time, if nobody says. At least one."""
    return max(1, min(cores * _PER_CORE, free_bytes // _MEMORY_BYTES))


def builds_at_once(cores: int) -> int:
    """How many images are built at the same time: a build has work for all cores."""
    return max(1, cores // 2)


def failed(rows: Sequence[FleetRow]) -> tuple[FleetRow, ...]:
    """Those of which something is wrong."""
    return tuple(row for row in rows if row.exit_code)


def verdict(rows: Sequence[FleetRow]) -> str:
    """One sentence about the failures: how many, and the first of them by name."""
    wrong = [row.stack for row in failed(rows)]
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return f"{len(wrong)} of {len(rows)} stacks failed: {', '.join(wrong[:_NAMED])}{more}"
