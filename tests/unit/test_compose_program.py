"""Which Compose CLI is used: the first that is new enough and can be run; why others are not is told."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from moorage import bounded
from moorage.adapters.compose.program import find_program
from moorage.cli import doctor
from moorage.errors import ComposeUnavailableError
from moorage.settings import Settings
from moorage.testing import FakeMachine, MemoryFiles, MemoryStore, fake_world

WHEELS = Path(sys.executable).with_name("docker-compose")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """PATH with nothing on it; the wheel's own program beside the interpreter is another one too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    return folder


def program(file: Path, version: str) -> Path:
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(f"#!/bin/sh\necho '{version}'\n")
    file.chmod(0o755)
    return file


def with_plugin(path: Path, version: str) -> None:
    """`docker`, whose plugin of that version is Debian's, for one."""
    program(path / "docker", version)
    program(path.parent / "docker" / "cli-plugins" / "docker-compose", version)


@pytest.mark.parametrize("old", ["2.26.1-4", "v2.34.0", "1.29.2", "2.9"])
def test_one_that_is_too_old_is_passed_over(path, old):
    """Debian 13's cannot say what a definition says: every verb ended in `unknown flag: --no-env-resolution`."""
    with_plugin(path, old)
    own = program(path.parent / "venv" / "docker-compose", "5.6.1")
    found = find_program(None)
    assert (found.program, found.version) == ((str(own),), "5.6.1")
    assert len(found.passed_over) == 1
    assert f"{path}/docker compose: version {old.removeprefix('v')} is too old, 2.35 is needed" in found.passed_over[0]


@pytest.mark.parametrize("new", ["2.35.0", "v2.40.3", "5.6.1", "10.0"])
def test_one_that_is_new_enough(path, new):
    with_plugin(path, new)
    program(path.parent / "venv" / "docker-compose", "5.6.1")
    found = find_program(None)
    assert (found.program, found.version) == ((f"{path}/docker", "compose"), new.removeprefix("v"))
    assert found.passed_over == ()


def test_none_that_is_new_enough(path):
    with_plugin(path, "2.26.1")
    with pytest.raises(ComposeUnavailableError, match=r"2\.26\.1 is too old, 2\.35 is needed"):
        find_program(None)
    with pytest.raises(ComposeUnavailableError, match=r"1\.0 is too old"):
        find_program(program(path / "mine", "1.0"))


def test_doctor_says_which_and_why(path, tmp_path):
    with_plugin(path, "2.26.1")
    own = program(path.parent / "venv" / "docker-compose", "5.6.1")
    said = doctor._compose(fake_world(FakeMachine(), MemoryStore(), MemoryFiles(), settings=Settings(home=tmp_path)))
    assert said.startswith(f"Compose 5.6.1: {own}; passed over: {path}/docker compose: version 2.26.1 is too old")


def test_a_program_that_is_what_it_was_is_not_asked_again(path, monkeypatch):
    """A script is, each time: what it starts may be another one by now. So is a program that was put in its place."""
    asked = []

    def run(command, *arguments, **named):
        asked.append(command[0])
        return bounded_run(command, *arguments, **named)

    bounded_run = bounded.run
    monkeypatch.setattr(bounded, "run", run)
    own = Path(shutil.copy(WHEELS, path / "mine"))
    first = find_program(own)
    assert [find_program(own), find_program(own)] == [first, first]
    assert asked == [str(own)]
    own.unlink()
    assert find_program(program(own, "7.0.0")).version == "7.0.0"
    program(own, "8.0.0")
    assert find_program(own).version == "8.0.0"
    assert len(asked) == 3
