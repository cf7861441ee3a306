"""Programs that we start are not told how to open the hub."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from moorage.adapters import git
from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.dagger.preflight import DaggerLook
from moorage.errors import MoorageError
from moorage.model.definition import Source
from moorage.model.image import RegistryLogin
from moorage.settings import Settings
from moorage.testing import FakeEngine, FakeMachine

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "PREFECT_API_AUTH_STRING": "ada:hub-mark-1",
    "PREFECT_API_KEY": "cloud-mark-2",
    "MOORAGE_HUB_AUTH": "ada:hub-mark-3",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://me:db-mark-4@db/x",
}


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `docker-compose`, `git` and `dagger` write down their environment and their arguments, call by call."""
    file = tmp_path / "seen"
    for name in ("docker-compose", "git", "dagger"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\n{{ echo "== {name} $*"; env; }} >> {file}\necho 5.0.0\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ORDINARY", "handed-on")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return file


def test_a_build_gets_the_variables_of_its_secrets(seen: Path, tmp_path: Path) -> None:
    """Compose reads our own file then, and so not the project's `.env`."""
    settings = Settings(home=tmp_path / "home", compose=tmp_path / "docker-compose")
    (tmp_path / ".env").write_text("ONLY_HERE=from-env-file\nOTHER=not-asked-for\n")
    ComposeCli(settings).build("x", tmp_path / "c.yaml", "web", lambda _line: None, {"ONLY_HERE": "from-env-file"})
    said = seen.read_text().rpartition("== ")[2]
    assert "ONLY_HERE=from-env-file" in said
    assert "OTHER=" not in said


def test_no_program_gets_a_key_of_the_hub(seen: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", compose=tmp_path / "docker-compose", dagger_cli=tmp_path / "dagger")
    login = RegistryLogin(registry="registry.example.org", username="ada", password="reg-mark-5")
    compose, source = ComposeCli(settings, (login,)), Source(directory=tmp_path)
    for call in (
        lambda: compose.variables(source, ["A"]),
        lambda: compose.create("x", tmp_path / "c.yaml", (), recreate=False, on_line=lambda _line: None),
        lambda: compose.build("x", tmp_path / "c.yaml", "web", lambda _line: None),
        lambda: git.top_of(tmp_path),
        lambda: DaggerLook(settings, FakeEngine(FakeMachine())).preflight(),
    ):
        try:
            call()
        except MoorageError:
            continue
    said = seen.read_text()
    calls = [line.split()[1] for line in said.splitlines() if line.startswith("== ")]
    assert {"docker-compose", "git"} <= set(calls)
    assert calls.count("docker-compose") == 4
    assert said.count("ORDINARY=handed-on") == len(calls)
    assert [mark for mark in ("hub-mark", "cloud-mark", "db-mark", "reg-mark") if mark in said] == []
