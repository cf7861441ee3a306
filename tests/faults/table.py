"""The table of faults that were survived, at the end of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

FAULTS = "faults"
RELAYED = "relayed"
"""Faults of a request to the engine; they have a table of their own."""
_TITLES = {FAULTS: "faults survived / tried", RELAYED: "requests to the engine that were struck: survived / tried"}


def print_faults(reporter: Any) -> None:
    """How many faults were tried, and survived, by operation and kind of fault."""
    for table in _TITLES:
        _print_table(reporter, table)


def _print_table(reporter: Any, table: str) -> None:
    tried: Counter[tuple[str, str]] = Counter()
    survived: Counter[tuple[str, str]] = Counter()
    for report in [one for many in reporter.stats.values() for one in many if hasattr(one, "user_properties")]:
        for key, row in report.user_properties:
            if key == table and report.when == "call":
                tried[row["operation"], row["how"]] += 1
                survived[row["operation"], row["how"]] += row["survived"]
    if tried:
        _print(reporter, _TITLES[table], tried, survived)


def _print(reporter: Any, title: str, tried: Counter[tuple[str, str]], survived: Counter[tuple[str, str]]) -> None:
    hows = list(dict.fromkeys(how for _, how in tried))
    reporter.section(title)
    reporter.write_line(f"{'':24}" + "".join(f"{how:>18}" for how in hows))
    for operation in dict.fromkeys(operation for operation, _ in tried):
        cells = [f"{survived[operation, how]} / {tried[operation, how]}" for how in hows]
        reporter.write_line(f"{operation:24}" + "".join(f"{cell:>18}" for cell in cells))
    reporter.write_line(f"{'all':24}{sum(survived.values())} / {sum(tried.values())}")
