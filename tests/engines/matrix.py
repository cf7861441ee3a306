"""`python -m tests.engines.matrix [NAME...]`: all verbs on the engines that are named, or on all; writes docs/engines.md.

Ends with 1 if a cell is neither "works" nor a refusal that is expected; `--no-table` writes nothing. ENGINES_KEEP names a folder for
what pytest prints, ENGINES_VERBS the verbs that are asked for, with `;` between them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import ROOT
from tests.engines import playing, table
from tests.engines.cells import FAILS, cell
from tests.engines.rows import ROWS, VERBS, Row

DOCUMENT = ROOT / "docs" / "engines.md"
_ASKED = tuple(one for one in os.environ.get("ENGINES_VERBS", "").split(";") if one)
"""None: all; else the others keep what an earlier run has written."""
_KEPT = ("TINY_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "PYTHON_IMAGE")


def main(names: list[str], *, write: bool) -> int:
    """One row after the other: two cores have enough to do with one engine."""
    signal.signal(signal.SIGTERM, _interrupted)
    rows = [row for row in ROWS if not names or row.name in names]
    if len(rows) < len(names):
        _say(f"the engines are: {' '.join(row.name for row in ROWS)}")
        return 2
    images, columns = _images(), table.read(DOCUMENT.read_text()) if DOCUMENT.exists() else {}
    code = 0
    for row in rows:
        _say(f"{row.title}: starting")
        verbs = {verb: row.tests(verb) for verb in VERBS if not _ASKED or verb in _ASKED}
        try:
            played = playing.play(row, verbs, images)
        except playing.BrokenOffError as error:  # what came of it until then is written all the same
            played, code = error.played, 130
        columns[row.title] = {**columns.get(row.title, {}), **_column(row, verbs, played, ended=not code)}
        if write:
            ordered = {one.title: columns[one.title] for one in ROWS if one.title in columns}
            DOCUMENT.write_text(table.text(ordered))
        if code:
            return code
    wrong = {row.title: verb for row in rows for verb, one in columns[row.title].items() if one.startswith(FAILS)}
    return 1 if wrong else 0


def _column(row: Row, verbs: Mapping[str, Sequence[str]], played: playing.Played, *, ended: bool) -> dict[str, str]:
    """Verb → its cell; first, what the engine calls itself. Verbs that were not reached are left out."""
    column = {table.ENGINE: played.engine}
    for verb, tests in verbs.items():
        one = cell(played.outcomes[verb], len(tests), row.refused.get(verb))
        if ended or len(played.outcomes[verb]) >= len(tests):
            column[verb] = one
        _say(f"{row.title}: {verb}: {one}")
    if folder := os.environ.get("ENGINES_KEEP"):
        (Path(folder) / row.name).write_text(f"{played.output}\n--- engine\n{played.log}")
    return column


def _images() -> list[str]:
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], stdout=subprocess.PIPE, text=True, check=True)
    found = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)
    return [found[name] for name in _KEPT]


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(words: str) -> None:
    print(f"engines: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main([one for one in arguments if not one.startswith("-")], write="--no-table" not in arguments))
