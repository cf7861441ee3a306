"""The table of planted faults in docs/testing.md: `python -m tests.properties.simulator.table` hunts and writes it.

With a file as argument, from the answers of `hunt` that are in it, one a line, instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.properties.simulator.mutations import MUTATIONS

_DOCUMENT = Path(__file__).parents[3] / "docs" / "testing.md"
_BEGIN, _END = "<!-- planted faults -->", "<!-- end of the planted faults -->"
_MOST = 550


def names_in(text: str) -> list[str]:
    """The planted faults that the document lists."""
    rows = text.partition(_BEGIN)[2].partition(_END)[0].splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows if row.startswith("| ")]
    return [name for name, *_ in cells[1:] if not name.startswith("---")]


def main(source: str = "") -> None:
    """Write the table."""
    answers = (
        [json.loads(line) for line in Path(source).read_text().splitlines()] if source else list(map(_hunt, _NAMES))
    )
    by_name = {one.get("name") or one["mutation"]: one for one in answers}
    rows = [_row(one.name, one.file, by_name[one.name]) for one in MUTATIONS]
    head = ["| planted fault | in | found by history | by the rule |", "| --- | --- | --- | --- |"]
    before, _, rest = _DOCUMENT.read_text().partition(_BEGIN)
    text = "\n".join([f"{before}{_BEGIN}", "", *head, *rows, "", f"{_END}{rest.partition(_END)[2]}"])
    _DOCUMENT.write_text(text)


_NAMES = tuple(one.name for one in MUTATIONS)


def _hunt(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.properties.simulator.hunt", "0", str(_MOST), name]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**answer, "name": name}


def _row(name: str, file: str, answer: dict[str, Any]) -> str:
    wrong = answer["wrong"]
    return f"| {name} | `{file}` | {answer['tried'] if wrong else 'not found'} | {(wrong or '').partition(':')[0]} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
