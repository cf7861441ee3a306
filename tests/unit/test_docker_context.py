"""Which engine: the same for the SDK and for Docker's own programs."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from moorage.adapters.docker_context import DEFAULT, endpoint
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import EngineUnavailableError
from moorage.settings import Settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of Docker's settings with the contexts `one` and `two`, of which `one` is current."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("one", "two"):
        meta = tmp_path / "contexts/meta" / sha256(name.encode()).hexdigest() / "meta.json"
        meta.parent.mkdir(parents=True)
        docker = {"Host": f"unix://{tmp_path}/{name}.sock", "SkipTLSVerify": False}
        meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    (tmp_path / "config.json").write_text('{"currentContext": "one"}')
    return tmp_path


def test_the_current_context(folder):
    found = endpoint()
    assert (found.address, found.context) == (f"unix://{folder}/one.sock", "one")
    assert found.environment() == {"DOCKER_HOST": found.address}
    assert DockerEngine(Settings()).address == found.address


def test_the_variables_come_first(folder, monkeypatch):
    monkeypatch.setenv("DOCKER_CONTEXT", "two")
    assert endpoint().address == f"unix://{folder}/two.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert endpoint().address == DEFAULT
    monkeypatch.setenv("DOCKER_CONTEXT", "two")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert endpoint().address == "tcp://127.0.0.1:1"
    assert endpoint().environment() == {}, "they have been told"


@pytest.mark.parametrize("config", [None, "", "[]", "{}", '{"currentContext": ""}', '{"currentContext": "default"}'])
def test_no_context_is_docker_s_own_socket(folder, config):
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    assert endpoint().address == DEFAULT
    assert endpoint().environment() == {}


def test_a_context_with_certificates(folder):
    tls = folder / "contexts/tls" / sha256(b"one").hexdigest() / "docker"
    tls.mkdir(parents=True)
    assert endpoint().environment() == {
        "DOCKER_HOST": f"unix://{folder}/one.sock",
        "DOCKER_CERT_PATH": str(tls),
        "DOCKER_TLS_VERIFY": "1",
    }


def test_a_context_that_is_gone_is_an_engine_that_is_away(folder):
    (folder / "config.json").write_text('{"currentContext": "three"}')
    with pytest.raises(EngineUnavailableError, match="docker context 'three'"):
        endpoint()
    with pytest.raises(EngineUnavailableError, match="docker context 'three'"):
        DockerEngine(Settings()).ping()


def test_an_engine_that_is_away_is_named_with_its_context(folder):
    with pytest.raises(EngineUnavailableError, match=r"one\.sock") as caught:
        DockerEngine(Settings()).ping()
    assert "context 'one'" in str(caught.value.hint)
