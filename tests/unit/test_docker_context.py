"""Which engine: the same for the SDK and for Docker's own programs."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from moorage.adapters.docker_context import DEFAULT, Endpoint, endpoint
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import EngineUnavailableError
from moorage.settings import Settings
from moorage.world import open_world


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
    assert found.environment() == {
        "DOCKER_HOST": found.address,
        "DOCKER_CERT_PATH": "",
        "DOCKER_TLS": "",
        "DOCKER_TLS_VERIFY": "",
    }, "what is left of another engine's TLS is overruled"
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
    (tls / "ca.pem").touch()
    assert endpoint().environment() == {
        "DOCKER_HOST": f"unix://{folder}/one.sock",
        "DOCKER_CERT_PATH": str(tls),
        "DOCKER_TLS": "1",
        "DOCKER_TLS_VERIFY": "1",
    }


@pytest.mark.parametrize("unchecked", [False, True])
def test_a_context_without_an_authority(folder, unchecked):
    """Docker's programs would look for `ca.pem` if they were told by variables: they are told the context's name."""
    key = sha256(b"one").hexdigest()
    (folder / "contexts/tls" / key / "docker").mkdir(parents=True)
    docker = {"Host": "tcp://127.0.0.1:1", "SkipTLSVerify": unchecked}
    (folder / "contexts/meta" / key / "meta.json").write_text(json.dumps({"Endpoints": {"docker": docker}}))
    found = endpoint()
    assert found.environment() == {"DOCKER_CONTEXT": "one", "DOCKER_HOST": ""}
    assert (found.authority, found.verified) == (None, not unchecked), "whom the machine trusts"
    assert found.certificates is not None, "it is spoken to with TLS"


def test_a_context_that_is_not_checked(folder):
    """Docker's programs would speak to it without TLS at all if `DOCKER_TLS` did not say so."""
    key = sha256(b"one").hexdigest()
    docker = {"Host": "tcp://127.0.0.1:1", "SkipTLSVerify": True}
    (folder / "contexts/meta" / key / "meta.json").write_text(json.dumps({"Endpoints": {"docker": docker}}))
    tls = folder / "contexts/tls" / key / "docker"
    tls.mkdir(parents=True)
    (tls / "ca.pem").touch()
    found = endpoint()
    assert (found.environment()["DOCKER_TLS"], found.environment()["DOCKER_TLS_VERIFY"]) == ("1", "")
    assert (found.verified, found.pair) == (False, None)


def test_certificates_alone_do_not_switch_tls_on(folder, monkeypatch):
    """As Docker's programs have it; the SDK would, and the two of them would speak to it in different ways."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(folder / "certificates"))
    assert endpoint().certificates is None
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert (endpoint().certificates, endpoint().verified) == (folder / "certificates", True)


def test_one_world_stays_with_one_engine(folder):
    """`docker context use` in the midst of a run: the SDK was connected already, and Compose would have gone there."""
    world = open_world(settings=Settings(home=folder / "home"))
    first = world.engine.place()
    (folder / "config.json").write_text('{"currentContext": "two"}')
    assert world.engine.place() == first
    assert world.compose._chosen.endpoint.address == first.address
    assert open_world(settings=Settings(home=folder / "home")).engine.place() != first


@pytest.mark.parametrize(
    ("address", "machine"),
    [
        ("unix:///var/run/docker.sock", None),
        ("tcp://127.0.0.1:2375", None),
        ("tcp://localhost:2375", None),
        ("ssh://me@localhost", None),
        ("tcp://192.0.2.1:2376", "192.0.2.1"),
        ("ssh://me@no-such-host.invalid:22", "no-such-host.invalid"),
    ],
)
def test_which_machine_an_engine_is_on(address, machine):
    assert Endpoint(address).machine == machine


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
