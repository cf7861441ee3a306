"""Builds by a real engine of Dagger: each key of `build` that is supported."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import docker
import pytest

from moorage.adapters.dagger.builder import DaggerBuilder
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import ImageError
from moorage.model.image import BuildSecret, BuildSpec, RegistryLogin
from moorage.settings import Settings
from tests.contract.dagger_server import wait_until
from tests.dagger_engine.conftest import SMALL
from tests.private_registry import PASSWORD, USER, only_there, serving

pytestmark = [pytest.mark.timeout(900)]
Build = Callable[..., docker.models.images.Image]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    return folder


@pytest.fixture
def build(context: Path, stack_prefix: str, docker_client: docker.DockerClient) -> Iterator[Build]:
    """Build a Dockerfile, and give the image as the Docker engine has it; it goes with the test."""
    tag = f"{stack_prefix}-web"

    def build_it(text: str, secrets: tuple[BuildSecret, ...] = (), logins: tuple[RegistryLogin, ...] = (), **more: Any):
        if "dockerfile_inline" not in more:
            (context / "Dockerfile").write_text(text)
        engine = DockerEngine(Settings())
        asked = {"context": str(context), **more}
        spec = BuildSpec(stack=stack_prefix, service="web", tag=tag, file=context / "x", build=asked, secrets=secrets)
        DaggerBuilder(Settings(), engine, logins).build(spec, print)
        engine.client.close()
        return docker_client.images.get(tag)

    yield build_it
    with suppress(docker.errors.ImageNotFound):
        docker_client.images.remove(tag, force=True)


def said_by(client: docker.DockerClient, image: docker.models.images.Image, command: str) -> str:
    return client.containers.run(image.id, ["sh", "-c", command], remove=True, entrypoint="").decode().strip()


def test_a_command_that_fails_shows_its_output(build):
    with pytest.raises(ImageError, match="build failed") as caught:
        build(f"FROM {SMALL}\nRUN echo about to fail && exit 3\n")
    assert "about to fail" in caught.value.fields["log"].splitlines()[:5]
    for words in (str(caught.value), caught.value.fields["log"]):
        assert "traceparent" not in words
        assert "\x1b" not in words


def test_secrets(build, docker_client, tmp_path):
    (tmp_path / "token").write_text("of a file")
    given = (
        BuildSecret(id="token", kind="file", text=str(tmp_path / "token")),
        BuildSecret(id="key", kind="value", text="of a variable"),
    )
    mounts = "--mount=type=secret,id=token --mount=type=secret,id=key"
    run = f"RUN {mounts} cat /run/secrets/token /run/secrets/key | sha256sum > /got"
    image = build(f"FROM {SMALL}\n{run}\n", given)
    assert said_by(docker_client, image, "cat /got").split()[0] == sha256(b"of a fileof a variable").hexdigest()
    assert "token" not in said_by(docker_client, image, "ls /run/secrets 2>&1 || true").split()


def test_an_ssh_agent(build, docker_client, tmp_path, monkeypatch):
    agent = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL) as process:
        try:
            assert wait_until(agent.exists)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
            image = build(
                f'FROM {SMALL}\nRUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo there > /got\n', ssh=["default"]
            )
        finally:
            process.terminate()
    assert said_by(docker_client, image, "cat /got") == "there"


def test_a_target_with_arguments_and_labels(build, docker_client):
    text = f"FROM {SMALL} AS one\nARG WORD\nRUN echo $WORD > /got\nFROM one AS two\nRUN echo two > /got\n"
    image = build(text, target="one", args={"WORD": "given"}, labels={"k": "v"})
    assert said_by(docker_client, image, "cat /got") == "given"
    assert image.labels["k"] == "v"


@pytest.fixture
def other_platform(docker_client) -> str:
    return "amd64" if docker_client.info()["Architecture"] in ("aarch64", "arm64") else "arm64"


def test_a_platform_that_this_machine_is_not(build, context, other_platform):
    (context / "file").write_text("x")
    image = build(f"FROM {SMALL}\nCOPY file /\n", platforms=[f"linux/{other_platform}"])
    assert image.attrs["Architecture"] == other_platform


def test_a_platform_that_the_engine_passes_over(build, context, other_platform):
    """From nothing it builds for its own platform, whatever was asked for."""
    (context / "file").write_text("x")
    with pytest.raises(ImageError, match=f"asked for linux/{other_platform}, Dagger built for linux/"):
        build("FROM scratch\nCOPY file /\n", platforms=[f"linux/{other_platform}"])


def test_an_inline_dockerfile(build, docker_client, context):
    (context / "Dockerfile").write_text("FROM nothing-that-is-there\n")
    (context / "kept").write_text("kept")
    image = build("", dockerfile_inline=f"FROM {SMALL}\nWORKDIR /app\nCOPY . .\n")
    assert said_by(docker_client, image, "ls -a /app").split() == [".", "..", "Dockerfile", "kept"]


def test_a_login(build, docker_client, tiny_image, stack_prefix, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        serving(tmp_path / "registry", port) as registry,
        only_there(docker_client, tiny_image, f"{registry}/{stack_prefix}") as base,
    ):
        with pytest.raises(ImageError):
            build(f"FROM {base}\nENV A=1\n")
        login = RegistryLogin(registry=registry, username=USER, password=PASSWORD)
        assert "A=1" in build(f"FROM {base}\nENV A=1\n", logins=(login,)).attrs["Config"]["Env"]
    assert PASSWORD not in os.environ.values()
