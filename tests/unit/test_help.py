"""`--help`: of the command, and of every verb."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.cli import _VERBS, _app, call
from moorage.cli.examples import EXAMPLES

WITHOUT_JSON = {"ci", "exec", "open", "run"}
"""What they print is another program's, or nothing."""


def test_help_lists_every_verb(capsys):
    assert call(["--help"]) == 0
    said = capsys.readouterr().out
    assert [verb for verb in [*_VERBS, "hub"] if f" {verb} " not in said] == []
    assert "130 interrupted" in said


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_tells_what_it_does_and_how(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert call([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: moorage {verb}")
    assert max(map(len, said.splitlines())) <= 80
    assert verb in WITHOUT_JSON or "--json" in said
    assert "Exit codes:" in said


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_has_an_example_that_would_run(verb, capsys, monkeypatch):
    arguments = shlex.split(EXAMPLES[verb])
    assert arguments[:2] == ["moorage", verb]
    _, bound, ignored = _app(arguments[1:]).parse_args(arguments[1:], exit_on_error=False, print_error=False)
    assert bound.arguments or len(arguments) == 2
    assert not ignored
    monkeypatch.setenv("COLUMNS", "100")
    call([verb, "--help"])
    assert f"Example: {EXAMPLES[verb]}" in capsys.readouterr().out


def test_no_option_of_a_verb_has_two_meanings():
    for verb in _VERBS:
        app = _app([verb])[verb]
        names = [name for one in app.assemble_argument_collection() for name in one.names if name.startswith("-")]
        assert len(names) == len(set(names)), (verb, sorted(names))


def test_f_of_logs_is_follow_as_with_compose():
    arguments = ["logs", "-f", "-n", "5", "--file", "a.yaml", "web"]
    _, bound, _ = _app(arguments).parse_args(arguments, exit_on_error=False, print_error=False)
    assert (bound.arguments["follow"], bound.arguments["tail"], bound.args) == (True, "5", ("web",))
    assert bound.arguments["selection"].file == ["a.yaml"]


@pytest.mark.parametrize(
    ("where", "code", "said"), [("> /dev/full", 1, "No space left"), (">&-", 0, ""), (">&- 2>&-", 0, "")]
)
def test_an_output_that_does_not_take_it(where, code, said):
    program = Path(sys.executable).with_name("moorage")
    done = subprocess.run(["sh", "-c", f"{program} --version {where}"], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
