"""The table of faults that were survived, at the end of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

FAULTS = "faults"


def print_faults(reporter: Any) -> None:
    """How many faults were tried, and survived, by operation and kind of fault."""
    tried: Counter[tuple[str, str]] = Counter()
    survived: Counter[tuple[str, str]] = Counter()
    for report in [one for many in reporter.stats.values() for one in many if hasattr(one, "user_properties")]:
        for key, row in report.user_properties:
            if key == FAULTS and report.when == "call":
                tried[row["operation"], row["how"]] += 1
                survived[row["operation"], row["how"]] += row["survived"]
    if tried:
        _print(reporter, tried, survived)


def _print(reporter: Any, tried: Counter[tuple[str, str]], survived: Counter[tuple[str, str]]) -> None:
    hows = list(dict.fromkeys(how for _, how in tried))
    reporter.section("faults survived / tried")
    reporter.write_line(f"{'':24}" + "".join(f"{how:>18}" for how in hows))
    for operation in dict.fromkeys(operation for operation, _ in tried):
        cells = [f"{survived[operation, how]} / {tried[operation, how]}" for how in hows]
        reporter.write_line(f"{operation:24}" + "".join(f"{cell:>18}" for cell in cells))
    reporter.write_line(f"{'all':24}{sum(survived.values())} / {sum(tried.values())}")
