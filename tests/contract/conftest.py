"""A session of Dagger for the tests of what speaks to it."""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.dagger_cli import FAKE_CLI, TOKEN, EngineServer, SessionServer
from tests.contract.dagger_server import Session, processes_with, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def dagger_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go in this test; the test fails if one is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [file.name for file in folder.iterdir()] == []


@pytest.fixture
def session(dagger_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session that is open, as in `dagger run`; the test fails if one call was not as the schema says."""
    made = Session()
    server = SessionServer(made)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    server.close()
    assert made.problems == []


@dataclass
class FakeCli:
    """A CLI that opens a session of ours, or does whatever `behave` was told."""

    path: Path
    engine: EngineServer
    seen: Path
    mark: str
    monkeypatch: pytest.MonkeyPatch

    def behave(self, how: str, **environment: str) -> None:
        for name, value in {"FAKE_DAGGER": how, **environment}.items():
            self.monkeypatch.setenv(name, value)

    @property
    def session(self) -> Session:
        return self.engine.session

    @property
    def environment(self) -> dict[str, Any]:
        """Of the last session."""
        found: dict[str, Any] = json.loads(self.seen.read_text())
        return found

    def assert_gone(self) -> None:
        """Nothing that was started for a session still runs."""
        assert wait_until(lambda: not processes_with(self.mark)), processes_with(self.mark)


@pytest.fixture
def fake_cli(dagger_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCli]:
    """`MOORAGE_DAGGER_CLI` and an engine that can be reached; the test fails if a process is left."""
    made = Session()
    engine = EngineServer(made)
    path = tmp_path / "dagger"
    path.write_text(FAKE_CLI.format(python=sys.executable))
    path.chmod(0o755)
    mark = f"mark-{uuid.uuid4().hex}"
    cli = FakeCli(path, engine, tmp_path / "seen.json", mark, monkeypatch)
    cli.behave("", FAKE_TOKEN=TOKEN, FAKE_DAGGER_SEEN=str(cli.seen), FAKE_DAGGER_MARK=mark)
    monkeypatch.delenv("NO_COLOR", raising=False)  # of the tests' own environment
    monkeypatch.setenv("MOORAGE_DAGGER_CLI", str(path))
    monkeypatch.setenv("MOORAGE_DAGGER_RUNNER_HOST", engine.unix)
    try:
        yield cli
        cli.assert_gone()
    finally:
        engine.close()
    assert made.problems == []
