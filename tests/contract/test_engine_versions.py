"""Which version of the engine's API is spoken: one, whatever the engine has besides; with an older one, its newest."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest
from docker.utils import version_lt

from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.engine.connecting import API
from moorage.settings import Settings
from tests.contract.scripted_engine import WELL, ScriptedEngine


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),  # 20.10
        ("1.45", "1.24", API),  # 26.1
        ("1.51", "1.24", API),  # 28.5
        ("1.52", "1.44", API),  # 29.1
        ("1.9", "1.1", "1.9"),  # as a text it would come after ours
        ("1.70", "1.60", "1.60"),  # of a time when ours is forgotten
        ("1.70", None, API),
    ],
)
def test_one_version_is_spoken(newest, oldest, spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = {"Version": "1", "ApiVersion": newest} | ({"MinAPIVersion": oldest} if oldest else {})
    monkeypatch.setitem(WELL, r"/version$", said)
    with ScriptedEngine(tmp_path / "engine.sock", b"", 10) as scripted:
        monkeypatch.setenv("DOCKER_HOST", scripted.address)
        engine = DockerEngine(Settings(home=tmp_path))
        engine.image("x")
        engine.client.close()
    assert scripted.asked == ["/version", f"/v{spoken}/images/x/json"]


@pytest.mark.engine
def test_the_engine_here_is_spoken_to_in_it(docker_client: docker.DockerClient, tmp_path: Path):
    newest = docker_client.version()["ApiVersion"]
    engine = DockerEngine(Settings(home=tmp_path))
    assert engine.client._version == (newest if version_lt(newest, API) else API)
    said = docker_client.info()
    assert engine.identity().split(" ") == [said["ID"], said["Name"], said["DockerRootDir"]]
    engine.client.close()
