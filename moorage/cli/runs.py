"""`moorage runs`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.hub import runs as hub_runs


def runs(
    stack: str | None = None,
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="Number of runs to list, newest first.")] = 20,
    json: Annotated[bool, Parameter(help="Print the runs as JSON.")] = False,
) -> int:
    """List the latest flow runs of the hub: state, progress, duration.

    Parameters
    ----------
    stack
        List only runs of this stack (default: of all stacks).
    """
    found = hub_runs.last(hub_runs.address(), limit, stack or "")
    if json:
        as_json([one.model_dump(mode="json") for one in found])
    else:
        from moorage.show.formatting import ago, seconds, table

        now = datetime.now(UTC)
        rows = [
            (
                one.id,
                one.name,
                one.state,
                "-" if one.progress is None else f"{one.progress:.0f} %",
                "-" if one.duration_s is None else seconds(one.duration_s),
                ago(one.started_at or one.created_at, now),
            )
            for one in found
        ]
        say(table(("ID", "RUN", "STATE", "PROGRESS", "TOOK", "WHEN"), rows) if rows else "no runs yet")
    return 0
