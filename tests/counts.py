"""What tests counted, added up over all processes of a run, at its end."""

from __future__ import annotations

from collections import Counter
from typing import Any

COUNTS = "counts"
"""`record_property(COUNTS, {"of": "keys", "how": {"done": 3}})`."""
NOTES = "notes"
"""`record_property(NOTES, {"of": "keys", "lines": ["…"]})`: lines that are printed once."""


def print_counts(reporter: Any) -> None:
    """A line for each thing that was counted, and the notes that belong to it."""
    counted: dict[str, Counter[str]] = {}
    notes: dict[str, dict[str, None]] = {}
    for report in [one for many in reporter.stats.values() for one in many if hasattr(one, "user_properties")]:
        for key, row in report.user_properties if getattr(report, "when", "") == "call" else ():
            if key == COUNTS:
                counted.setdefault(row["of"], Counter()).update(row["how"])
            if key == NOTES:
                notes.setdefault(row["of"], {}).update(dict.fromkeys(row["lines"]))
    if counted:
        reporter.section("counted")
    for of, how in sorted(counted.items()):
        reporter.write_line(f"{of}: {', '.join(f'{number} {what}' for what, number in sorted(how.items()))}")
        for line in sorted(notes.get(of, ())):
            reporter.write_line(f"    {line}")
