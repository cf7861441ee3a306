"""A wrong command line: our own sentence, what next, exit code 2."""

from __future__ import annotations

import json

import pytest

from moorage.cli import _VERBS, call
from moorage.cli.command_apart import WITH_VALUE

_OF_THE_PARSER = ("Unused", "Token", "Parameter", "Unknown option", "Invalid value", "Traceback", "Try `moorage")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path / "home"))


def said(line, capsys):
    code = call(line.split())
    told = capsys.readouterr()
    assert not [word for word in _OF_THE_PARSER if word in told.err + told.out], told
    assert told.err.startswith("error: ")
    assert "\n→ " in told.err
    return code, told.err


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("upp", "no such verb: 'upp'", 'Did you mean "up"?'),
        ("--jsn", "--jsn: no such option", "moorage --help"),
        ("up --jsn", "up: --jsn: no such option", 'Did you mean "--json"?'),
        ("up -zz", "up: -zz: no such option", "moorage up --help"),
        ("up --wait-timeout", "up: --wait-timeout: a value is missing", "moorage up --help"),
        ("up -f", "up: -f: a value is missing", "moorage up --help"),
        ("up --wait-timeout soon", "up: --wait-timeout: 'soon' is not a number", "moorage up --help"),
        ("up --builder podman", "up: --builder: 'podman' is not one of auto, compose, dagger", "moorage up --help"),
        ("up --builder daggr", "up: --builder: 'daggr' is not one of", 'Did you mean "dagger"?'),
        ("up --json=maybe", "up: --json: 'maybe' is not true or false", "moorage up --help"),
        ("up --build --build", "up: --build: given more than once", "moorage up --help"),
        ("up --lock-timeout -3", "up: --lock-timeout: '-3.0' is not allowed: must be >= 0", "moorage up --help"),
        ("up --scale web", "--scale: 'web' is not SERVICE=NUMBER", "worker=3"),
        ("up --scale web=-1", "--scale: 'web=-1' is not SERVICE=NUMBER", "worker=3"),
        ("scale", "scale: SERVICE=NUMBER is missing", "moorage scale worker=3"),
        ("scale web=many", "scale: 'web=many' is not SERVICE=NUMBER", "worker=3"),
        ("down --timeout=", "down: --timeout: '' is not a number", "moorage down --help"),
        ("runs --limit x", "runs: --limit: 'x' is not a whole number", "moorage runs --help"),
        ("runs shop --name shop", "runs: unexpected argument 'shop'", "moorage runs --name shop"),
        ("exec", "exec: SERVICE is missing", "moorage exec --help"),
        ("run", "run: SERVICE is missing", "moorage run --help"),
        ("run --entrypoint", "run: --entrypoint: a value is missing", "moorage run --help"),
        ("open", "open: SERVICE is missing", "moorage open --help"),
        ("init", "init: DIRECTORY is missing", "moorage init --help"),
        ("cancel", "cancel: RUN is missing", "moorage cancel --help"),
        ("ls shop", "ls: unexpected argument 'shop'", "moorage ls --help"),
        ("ports lss", "ports: ACTION: 'lss' is not one of ls, show, why", 'Did you mean "ls"?'),
        ("hub strt", "hub: no such verb: 'strt'", 'Did you mean "start"?'),
        ("hub start now", "hub start: unexpected argument 'now'", "moorage hub start --help"),
        ("hub start --jsno", "hub start: --jsno: no such option", 'Did you mean "--json"?'),
        ("volumes restore", "volumes restore: FILE is missing", "moorage volumes restore --help"),
        ("worktree add", "worktree add: BRANCH is missing", "moorage worktree add --help"),
    ],
)
def test_what_is_wrong_and_what_next(line, message, hint, capsys):
    code, told = said(line, capsys)
    assert code == 2
    assert message in told
    assert hint in told


@pytest.mark.parametrize("verb", [*_VERBS, "ps", "hub start", "volumes ls", "worktree ls"])
def test_an_unknown_option_of_any_verb(verb, capsys):
    code, told = said(f"{verb} --no-such-option", capsys)
    assert code == 2
    assert "--no-such-option: no such option" in told


@pytest.mark.parametrize(("verb", "option"), [(verb, one) for verb, all_ in WITH_VALUE.items() for one in sorted(all_)])
def test_what_is_said_to_take_a_value_before_a_command_does(verb, option, capsys):
    code, told = said(f"{verb} {option}", capsys)
    assert code == 2
    assert f"{verb}: {option}: a value is missing" in told


def test_with_json_it_is_data(capsys):
    assert call(["up", "--jsn", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["error"], told["exit_code"], told["message"]) == (
        "DefinitionError",
        2,
        "up: --jsn: no such option",
    )
