"""The last lines of a container's log, for those to whom it is an aid: where it cannot be read, a sentence says so."""

from __future__ import annotations

from moorage.errors import said
from moorage.interfaces import World


def last_lines(world: World, container_id: str, lines: int | None) -> str:
    """The last lines, or why there are none. `lines` None: all. Raises nothing: it stands beside a real cause.

    Some logging drivers keep nothing that can be read, and an engine in trouble may not answer.
    """
    try:
        return world.engine.logs(container_id, lines)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not what the reader wants to know
        return f"(its log cannot be read: {said(error)})"
