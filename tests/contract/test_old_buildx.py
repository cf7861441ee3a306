"""A buildx that is too old for Compose, as Debian 13's and Ubuntu 24.04's: builds go by the engine's own builder.

The plugin only says its version, as Compose asks for it; Compose, the engine and what is built are real.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.adapters.compose.builder import ComposeBuilder
from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.compose.plugins import buildx
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import ImageError, UnsupportedByBackendError
from moorage.model.image import BuildSpec
from moorage.rules import engines
from moorage.settings import Settings

PLUGIN = """#!/bin/sh
case $1 in
docker-cli-plugin-metadata) echo '{{"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "v{0}"}}' ;;
version) echo 'github.com/docker/buildx v{0} 1234567' ;;
*) echo "$*: it was used" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The folder of Docker's settings has a buildx of the version that it is called with."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    file = tmp_path / "docker" / "cli-plugins" / "docker-buildx"
    file.parent.mkdir(parents=True)

    def put(version: str) -> str:
        file.write_text(PLUGIN.format(version))
        file.chmod(0o755)
        return str(file)

    return put


@pytest.fixture
def build(tmp_path, stack_prefix, tiny_image, docker_client):
    engine = DockerEngine(Settings())
    builder = ComposeBuilder(ComposeCli(Settings()), engine)
    said: list[str] = []

    def build(dockerfile: str, **more: Any) -> list[str]:
        (tmp_path / "Dockerfile").write_text(f"FROM {tiny_image}\n{dockerfile}\n")
        file, tag = tmp_path / "build.json", f"{stack_prefix}-web"
        service = {"build": {"context": str(tmp_path), **more}, "image": tag}
        file.write_text(json.dumps({"name": stack_prefix, "services": {"web": service}}))
        builder.build(
            BuildSpec(stack=stack_prefix, service="web", tag=tag, file=file, build=service["build"]), said.append
        )
        assert engine.image(tag)
        return said

    yield build
    engine.client.close()


@pytest.mark.engine
def test_what_needs_no_buildkit_is_built(plugin, build):
    plugin("0.13.1")
    said = build("RUN echo 1 > /one")
    told = [line for line in said if "the engine's own builder is used" in line]
    assert len(told) == 1
    assert "buildx is older than 0.17" in told[0]
    said.clear()
    build("RUN echo 2 > /two")
    assert not any("requires buildx" in line for line in said), "known by now: not tried again"


@pytest.mark.engine
@pytest.mark.parametrize(
    ("dockerfile", "more", "what"),
    [
        ("RUN --mount=type=cache,target=/kept true", {}, "--mount"),
        ("COPY --chmod=755 Dockerfile /", {}, "--chmod"),
        ("RUN true", {"platforms": ["linux/amd64", "linux/arm64"]}, "multi-arch build"),
    ],
)
def test_what_only_buildkit_can_do_is_refused_by_name(plugin, build, dockerfile, more, what):
    plugin("0.13.1")
    with pytest.raises(UnsupportedByBackendError, match=what) as caught:
        build(dockerfile, **more)
    assert "without a buildx of 0.17" in str(caught.value)
    assert "Install a newer buildx" in str(caught.value.hint)
    assert caught.value.fields["key"] == "services.web.build"


@pytest.mark.engine
def test_another_failure_is_not_tried_again_without_it(plugin, build):
    plugin("0.30.0")
    # Compose does not always wait for the last words of a plugin that has ended.
    with pytest.raises(ImageError, match=r"it was used|failed to execute bake"):
        build("RUN true")


@pytest.mark.parametrize(
    ("version", "compose", "words"),
    [
        ("0.13.1", "5.6.1", "buildx 0.13.1 is too old for Compose 5.6.1, which asks for 0.17: {}"),
        ("0.12.1+ds1", "2.40.3", "buildx 0.12.1 is too old for Compose 2.40.3"),
        ("0.13.1", "2.40.1", "buildx 0.13.1: {}"),
        ("0.17.0", "5.6.1", "buildx 0.17.0: {}"),
        ("nothing", "5.6.1", "buildx cannot be used: {}: github.com"),
    ],
)
def test_what_doctor_says_of_it(plugin, version, compose, words):
    where = plugin(version)
    assert buildx(compose, engines.DOCKER).startswith(words.format(where))


def test_what_doctor_says_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr("moorage.adapters.compose.plugins._FOLDERS", (str(tmp_path),))
    assert buildx("5.6.1", engines.DOCKER) == "no buildx: the engine's own builder"
