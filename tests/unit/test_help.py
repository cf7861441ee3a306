"""`--help`: of the command, and of every verb."""

from __future__ import annotations

import pytest

from moorage.cli import _VERBS, run

WITHOUT_JSON = {"ci", "exec", "open"}
"""What they print is another program's, or nothing."""


def test_help_lists_every_verb(capsys):
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert [verb for verb in [*_VERBS, "hub"] if f" {verb} " not in said] == []
    assert "130 interrupted" in said


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_tells_what_it_does_and_how(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: moorage {verb}")
    assert max(map(len, said.splitlines())) <= 80
    assert verb in WITHOUT_JSON or "--json" in said
    assert "Exit codes:" in said
