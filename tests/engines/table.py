"""`docs/engines.md`: a line for each verb, a column for each engine, written by a run and read again by the next one."""

from __future__ import annotations

from collections.abc import Mapping

from tests.engines.cells import FAILS, WORKS
from tests.engines.rows import VERBS

ENGINE = "calls itself"
_HEAD = """# Engines

Written by `make test-engines`: each cell is what came of tests of `tests/engine` on that engine, started for it out of a root
of its own. A number leads to the sentence with which Moorage refuses what that engine cannot do, before it does anything.

Docker builds with the buildx of its own distribution: Debian 12 has none, that of Debian 13 is too old for Compose, and then
the engine's own builder is used. "build with RUN --mount" is by BuildKit, with a buildx that Compose uses; by the engine's own
builder it is refused. On Podman all builds go by its own builder, and the times of log entries are whole seconds. The
rootless one has control groups of the first kind, which it cannot use. Not tried: control groups of the second kind, other
processors than x86-64, Docker Desktop.

Two cells of Podman's are not steady. "logs": in two of three runs one that followed a container over restarts lost lines. "up
--build, nothing changed": in one of six the builder made another image of the same files, so containers were made anew.

"""
_SENTENCES = "\n## What is refused\n\n"


def text(columns: Mapping[str, Mapping[str, str]]) -> str:
    """The document. `columns`: title of the engine → verb → cell."""
    notes: dict[str, int] = {}
    lines = [_line(["", *columns]), _line(["---"] * (len(columns) + 1))]
    for verb in (ENGINE, *VERBS):
        cells = [column.get(verb, "not run") for column in columns.values()]
        lines.append(_line([verb, *(_cell(verb, one, notes) for one in cells)]))
    found = "".join(f"{number}. {words}\n" for words, number in notes.items())
    return _HEAD + "\n".join(lines) + "\n" + (_SENTENCES + found if found else "")


def _cell(verb: str, words: str, notes: dict[str, int]) -> str:
    if verb == ENGINE or words in (WORKS, "not run"):
        return words
    if words.startswith(FAILS):
        return _escaped(words)
    return f"refused [{notes.setdefault(_escaped(words), len(notes) + 1)}]"


def _escaped(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def read(document: str) -> dict[str, dict[str, str]]:
    """The columns of a document that `text` has written. Raises ValueError: it is none."""
    head, found, rest = document.partition("| ")
    if head != _HEAD or not found:
        raise ValueError("docs/engines.md is not what `make test-engines` writes")
    lines = [line for line in (found + rest).splitlines() if line.startswith("|")]
    cells = [[one.strip() for one in line.strip("| ").split(" | ")] for line in lines]
    sentences = dict(_numbered(rest.partition(_SENTENCES)[2]))
    titles = lines[0].strip("|").split("|")[1:]
    columns: dict[str, dict[str, str]] = {title.strip(): {} for title in titles}
    for verb, *row in cells[2:]:
        for title, one in zip(columns, row, strict=True):
            number = one.removeprefix("refused [").rstrip("]") if one.startswith("refused [") else ""
            columns[title][verb] = sentences[number] if number else one
    return columns


def _numbered(found: str) -> list[tuple[str, str]]:
    return [(number, words) for number, _, words in (line.partition(". ") for line in found.splitlines())]
