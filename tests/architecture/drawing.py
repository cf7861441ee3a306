"""The house as a Mermaid drawing in CONTRIBUTING.md, made from the imports that are there.

`python -m tests.architecture.drawing` writes it; `test_drawing.py` checks that it is what the code says.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tests.architecture.house import ROOT, SUBROOMS, imports_of_ours, sources

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- drawn by `python -m tests.architecture.drawing` -->", "<!-- end of the drawing -->"
PACKAGES = ("flows", "tasks", "blocks", "moorage")
GROUND = {"moorage", "moorage.bounded", "moorage.errors", "moorage.settings", "moorage.interfaces", "moorage.__main__"}
"""Not drawn: what nearly all others use."""


def room_of(module: str) -> str:
    """`work.runs` of moorage.work.runs.undo, `rules` of moorage.rules.graph, `flows` of flows.up."""
    parts = module.split(".")
    if parts[0] != "moorage":
        return parts[0]
    if len(parts) > 2 and parts[1] in SUBROOMS:
        return ".".join(parts[1:3])
    return parts[1] if len(parts) > 1 else "moorage"


def arrows() -> dict[str, set[str]]:
    """Room → the rooms that it uses, also inside functions."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, others in imports_of_ours(sources(*PACKAGES), late=True).items():
        for other in others:
            if ".".join(other.split(".")[:2]) not in GROUND and room_of(module) != room_of(other):
                found[room_of(module)].add(room_of(other))
    return {name: others for name, others in found.items() if f"moorage.{name}" not in GROUND and name != "moorage"}


def shortest(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows without those that a longer way says already: who uses `operations` has what that uses anyway."""

    def reachable(start: str, seen: set[str]) -> set[str]:
        for other in graph.get(start, ()):
            if other not in seen:
                seen.add(other)
                reachable(other, seen)
        return seen

    return [
        (name, other)
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if not any(other in reachable(third, set()) for third in others - {other})
    ]


def mermaid() -> str:
    """The drawing: each folder of `work` and `adapters`, and each room beside them."""
    graph = arrows()
    names = sorted({*graph, *(other for others in graph.values() for other in others)})
    lines = ["flowchart TD"]
    for group in (*SUBROOMS, ""):
        inside = [name for name in names if (name.partition(".")[0] == group if group else "." not in name)]
        lines += [f"  subgraph {group}"] if group else []
        lines += [f"  {'  ' if group else ''}{_id(name)}[{name.rpartition('.')[2]}]" for name in inside]
        lines += ["  end"] if group else []
    lines += [f"  {_id(a)} --> {_id(b)}" for a, b in shortest(graph)]
    return "\n".join(lines)


def _id(name: str) -> str:
    return "room_" + name.replace(".", "_")


def drawn(text: str) -> str:
    """CONTRIBUTING.md with the drawing as the code is now."""
    block = f"{BEGIN}\n\n```mermaid\n{mermaid()}\n```\n\n{END}"
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: block, text, flags=re.DOTALL)


if __name__ == "__main__":
    Path(CONTRIBUTING).write_text(drawn(CONTRIBUTING.read_text()))
