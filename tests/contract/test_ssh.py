"""An engine behind `ssh://`: the program `ssh` runs `docker system dial-stdio` there, and we talk through it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.engine.ssh import command_of
from moorage.adapters.engine.volumes import DockerVolumes
from moorage.errors import EngineError, EngineUnavailableError
from moorage.settings import Settings


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program in place of `ssh` that runs the command here, if it is for the host `far-host`."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\n'
        '[ "$2" = far-host ] || { echo "Pseudo-terminal: no" >&2; echo "Could not resolve hostname $2" >&2; exit 255; }\n'
        f"shift 2\nexport DOCKER_HOST={os.environ.get('DOCKER_HOST') or 'unix:///var/run/docker.sock'}\nexec $*\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@far-host")
    return program


def test_the_command():
    words = " ".join(command_of("ssh://me@far-host:2222/run/user/1/docker.sock"))
    assert "-l me -p 2222 -- far-host docker --host unix:///run/user/1/docker.sock system dial-stdio" in words
    assert command_of("ssh://far-host")[-5:] == ["--", "far-host", "docker", "system", "dial-stdio"]


@pytest.mark.engine
def test_questions_and_programs(ssh, docker_client: docker.DockerClient, tiny_image, stack_prefix, tmp_path):
    engine = DockerEngine(Settings(home=tmp_path))
    assert engine.ping() == docker_client.version()["Version"]
    assert engine.place().machine == "far-host"
    container = docker_client.containers.run(tiny_image, ["sleep", "600"], name=stack_prefix, init=True, detach=True)
    try:
        assert engine.exec(container.id, ["sh", "-c", "echo hello; exit 4"]) == (4, "hello")
        volumes, sent = DockerVolumes(engine, "0123456789ab"), os.urandom(1 << 20)
        volumes.load(container.id, ["sh", "-c", "cat > /got"], {}, [sent])
        assert b"".join(volumes.dump(container.id, ["cat", "/got"], {})) == sent
        with pytest.raises(EngineError, match=r"no end within 0\.3 s"):
            engine.exec(container.id, ["sleep", "600"], timeout_s=0.3)
    finally:
        container.remove(force=True)
        engine.client.close()


def test_a_host_that_is_not_there_is_told_in_the_words_of_ssh(ssh, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@nobody")
    with pytest.raises(EngineUnavailableError, match="ssh: Could not resolve hostname nobody"):
        DockerEngine(Settings(home=tmp_path)).ping()


def test_without_the_program(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@far-host")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailableError, match="the program `ssh` is not there"):
        DockerEngine(Settings(home=tmp_path)).ping()
