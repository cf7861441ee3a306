"""What came of a fleet, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.model.fleet import FleetRow
from moorage.show.formatting import clean, count, one_line, seconds, table

_LONGEST = 120


def fleet_text(rows: Sequence[FleetRow]) -> str:
    """One line a stack; below it what is wrong, and how many failed."""
    if not rows:
        return "no stacks"
    lines = [
        (
            clean(row.stack),
            clean(row.state),
            str(row.changed) if row.changed else "-",
            seconds(row.elapsed_s),
            clean(row.directory),
        )
        for row in rows
    ]
    wrong = [row for row in rows if row.exit_code]
    said = [f"{clean(row.stack)}: {clean(one_line(row.error or ''))[:_LONGEST]}" for row in wrong]
    total = f"{count(len(rows), 'stack')}, {len(wrong) or 'none'} failed"
    return "\n".join([table(("STACK", "STATE", "STARTED", "TOOK", "DIRECTORY"), lines), "", *said, total])
