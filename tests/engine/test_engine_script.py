"""`scripts/engine` asks the engine that docker and Moorage would talk to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "engine"


def script(*arguments: str, config: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    environment = {**kept, "DOCKER_CONFIG": str(config), **more}
    return subprocess.run([str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def contexts(tmp_path, docker_client) -> Path:
    """A folder of docker's settings with two contexts: the engine under another name, and one that is not there."""
    address = docker_client.api.base_url.removeprefix("http+docker://")
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    assert socket.is_socket(), address
    (tmp_path / "other.sock").symlink_to(socket)
    for name, place in {"there": "other.sock", "gone": "gone.sock"}.items():
        created = ["docker", "context", "create", name, "--docker", f"host=unix://{tmp_path / place}"]
        environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path)}
        subprocess.run(created, env=environment, capture_output=True, check=True)
    return tmp_path


def test_the_context_in_use_is_asked(contexts) -> None:
    (contexts / "config.json").write_text('{"currentContext": "there"}')
    asked = script("status", config=contexts)
    assert asked.returncode == 0, asked.stderr
    assert f"unix://{contexts}/other.sock (docker context there)" in asked.stderr


def test_nothing_is_installed_for_an_engine_of_a_context(contexts) -> None:
    asked = script("start", config=contexts, DOCKER_CONTEXT="gone")
    assert asked.returncode == 4, asked.stderr
    assert f"no Docker engine answers at unix://{contexts}/gone.sock, of your docker context gone" in asked.stderr
    assert "docker context use default" in asked.stderr


def test_without_anything_to_ask_with_that_is_said(tmp_path) -> None:
    """Neither curl nor python3 nor docker: an engine that answers was taken for one that does not."""
    for name in ("bash", "id", "grep", "sed", "timeout"):
        (tmp_path / name).symlink_to(next(p for folder in ("/bin", "/usr/bin") if (p := Path(folder, name)).exists()))
    asked = script("status", config=tmp_path, PATH=str(tmp_path), HOME=str(tmp_path))
    assert asked.returncode == 4, asked.stderr
    assert "nothing here can ask an engine" in asked.stderr
    assert "install one of: curl, python3, the docker client" in asked.stderr
