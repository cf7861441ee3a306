"""A Compose that is ended in mid-answer, or says what makes no sense: it ends as an error of Moorage."""

from __future__ import annotations

import stat
from collections.abc import Callable
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.errors import MoorageError
from moorage.interfaces import Compose
from moorage.model.definition import Source
from moorage.settings import Settings

ANSWERS = {
    "nothing": "exit 0",
    "half an object": 'printf \'{"name": "x", \'',
    "a list": "echo '[1, null]'",
    "null": "echo null",
    "another object": "echo '{\"x\": 1}'",
    "no UTF-8": r"printf '\377\376'",
    "killed": "kill -9 $$",
    "killed in the midst": "printf '{\"name\"'; kill -9 $$",
    "an exit code without words": "exit 14",
}
CALLS: dict[str, Callable[[ComposeCli, Source, Path], Any]] = {
    "version": lambda c, _s, _f: c.version(),
    "config": lambda c, s, _f: c.config(s, "x", {}),
    "begin_config": lambda c, s, _f: c.begin_config(s, "x").result(),
    "raw_config": lambda c, s, _f: c.raw_config(s),
    "extensions": lambda c, s, _f: c.extensions(s, "x", {}),
    "interpolate": lambda c, s, _f: c.interpolate(s, {"a": "b"}, {}),
    "variables": lambda c, s, _f: c.variables(s, ["A"]),
    "create": lambda c, _s, f: c.create("x", f, (), False, lambda _line: None),
    "build": lambda c, _s, f: c.build("x", f, "web", lambda _line: None),
    "pull": lambda c, _s, f: c.pull("x", f, "web", lambda _line: None),
    "abort": lambda c, _s, _f: c.abort(),
    "end_strays": lambda c, _s, _f: c.end_strays("x"),
    "attends": lambda c, _s, _f: c.attends("moorage.run=x"),
}


def compose_that(says: str, folder: Path) -> ComposeCli:
    program = folder / "docker-compose"
    program.write_text(f'#!/bin/sh\ncase "$*" in version*) echo 5.0.0; exit;; esac\n{says}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return ComposeCli(Settings(home=folder / "home", compose=program, compose_timeout_s=10))


def test_every_call_is_tried() -> None:
    assert {name for name, method in vars(Compose).items() if isfunction(method) and name[0] != "_"} == set(CALLS)


@pytest.mark.parametrize("says", ANSWERS)
@pytest.mark.parametrize("name", CALLS)
def test_no_foreign_exception_comes_out(tmp_path: Path, name: str, says: str) -> None:
    compose = compose_that(ANSWERS[says], tmp_path)
    file = tmp_path / "compose.yaml"
    file.write_text("services: {}")
    try:
        CALLS[name](compose, Source(directory=tmp_path), file)
    except MoorageError as error:
        assert str(error).strip()  # noqa: PT017 - any of ours will do


def test_a_program_that_is_gone_since_it_was_found(tmp_path: Path) -> None:
    compose = compose_that("exit 0", tmp_path)
    compose.version()
    (tmp_path / "docker-compose").write_text("not a program")
    with pytest.raises(MoorageError, match="compose cannot be used: "):
        compose.config(Source(directory=tmp_path), "x", {})
