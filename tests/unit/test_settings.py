"""Settings: paths mean what they meant where the command was called."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.errors import DefinitionError
from moorage.settings import Settings, settings


def test_relative_paths_stay_where_they_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"HOME": "state", "COMPOSE": "bin/compose", "DAGGER_CLI": "dagger"}.items():
        monkeypatch.setenv(f"MOORAGE_{name}", value)
    found = Settings()
    assert found.home == tmp_path / "state"
    assert found.compose == tmp_path / "bin/compose"
    assert found.dagger_cli == Path("dagger")  # looked for on PATH


def test_a_file_in_the_working_directory_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MOORAGE_HUB_PORT=1\nHUB_PORT=1\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().hub_port != 1


@pytest.mark.parametrize("text", ["1-65535", "20000-20000"])
def test_a_range_of_ports(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_PORT_RANGE", text)
    assert Settings().port_range == text


@pytest.mark.parametrize("text", ["30000-20000", "70000-80000", "0-10", "65535-65536", "-1-5", "5", "a-b", "1-2-3"])
def test_a_range_that_is_none_is_refused_by_its_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_PORT_RANGE", text)
    settings.cache_clear()
    try:
        with pytest.raises(DefinitionError, match="MOORAGE_PORT_RANGE"):
            settings()
    finally:
        settings.cache_clear()
