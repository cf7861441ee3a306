"""The scripts that `make` calls run on what people have: bash 3.2 (macOS), without GNU's own programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IN_BASH = "#!/usr/bin/env bash"
SCRIPTS = [one for one in sorted((ROOT / "scripts").iterdir()) if one.is_file() and one.read_text().startswith(IN_BASH)]
NEWER = {
    "tables": r"\b(declare|local|typeset|readonly) -\w*[An]",
    "case of letters": r"\$\{\w+(\[[^]]*\])?(\^|,)",
    "what a variable is": r"\$\{\w+@\w\}",
    "lines into a list": r"\b(mapfile|readarray|coproc)\b",
    "waiting for any": r"\bwait -n\b",
    "both outputs": r"&>>|\|&",
    "the clock": r"EPOCHSECONDS|EPOCHREALTIME|%\([^)]*\)T",
    "the last of a list": r"\[-\d+\]",
}
"""What came with bash 4 and later. Nobody has 3.2 but macOS, and no Debian has it: this stands for a run there."""
GUARDED = {
    "flock": "command -v flock",
    "timeout": "command -v timeout",
    "sha256sum": "command -v sha256sum",
}
"""Programs that macOS lacks, and what a script that uses one has to ask first."""
ON_LINUX_ONLY = {"engine": {"flock"}}
"""Below `refuse_where_we_cannot`, which lets only Debian and Ubuntu pass."""


def code_of(script: Path) -> str:
    lines = script.read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def test_there_are_scripts() -> None:
    assert {"engine", "base-images", "venv"} <= {one.name for one in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
def test_it_speaks_the_bash_of_macos(script: Path) -> None:
    found = {what: hit[0] for what, pattern in NEWER.items() if (hit := re.search(pattern, code_of(script)))}
    assert not found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
def test_a_list_that_may_be_empty_is_looked_at_first(script: Path) -> None:
    """Before bash 4.4 an empty list counts as unset, which ends a script with `set -u`."""
    code = code_of(script)
    empty = re.findall(r"\b([A-Z_]+)=\(\)", code)
    bare = [name for name in empty if re.search(rf'(?<!\+)"\$\{{{name}\[@\]\}}"', code)]
    assert not bare


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
@pytest.mark.parametrize("program", GUARDED)
def test_it_asks_before_it_uses_what_macos_lacks(script: Path, program: str) -> None:
    if program in ON_LINUX_ONLY.get(script.name, ()):
        return
    used = re.search(rf"(^|[;|&({{]|\bthen|\belse|\bdo|!)\s*{program} ", code_of(script), re.MULTILINE)
    assert not used or GUARDED[program] in code_of(script)


def test_a_bench_that_misses_a_bound_writes_its_table_all_the_same(tmp_path: Path) -> None:
    """The recipes of `make` run with `set -e`: what has to come after a failure has to say so."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, then in {"pytest": "exit 1", "python": 'echo "$@" >>written'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{then}\n")
        (programs / name).chmod(0o755)
    there = [part for target in ("engine", "setup", "images") for part in ("-o", target)]
    command = ["make", "-f", ROOT / "Makefile", "-C", tmp_path, *there, f"BIN={programs}", "bench"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode
    assert (tmp_path / "written").read_text() == "-m tests.benchmarks.figures\n", ended.stderr
