"""Builds that change nothing, and builds that need BuildKit."""

from __future__ import annotations

import pytest

from moorage.adapters.compose.plugins import buildx
from moorage.errors import UnsupportedByBackendError
from moorage.rules import engines

BUILT = """
services:
  web: {build: ., init: true, command: sleep 600, stop_grace_period: 0s}
"""


@pytest.fixture
def built(project, docker_client):
    project.compose(BUILT)
    yield project
    project.moorage("down", "--volumes", "--release-ports")
    for name in docker_client.api.images(f"{project.name}-web", quiet=True):
        docker_client.images.remove(name, force=True)


def test_an_unchanged_build_changes_nothing(built, tiny_image, docker_client):
    """With attestations, which name the time, each build of the same files would be another image."""
    built.write("Dockerfile", f"FROM {tiny_image}\nRUN echo built > /made\n")
    generation = built.moorage("up", "--json").json["generation"]
    (first,) = docker_client.api.containers(filters={"label": f"com.docker.compose.project={built.name}"})
    assert built.moorage("up", "--build", "--json").json["generation"] == generation
    (again,) = docker_client.api.containers(filters={"label": f"com.docker.compose.project={built.name}"})
    assert again["Id"] == first["Id"]
    assert docker_client.images.get(f"{built.name}-web").id == first["ImageID"]


async def test_what_only_buildkit_can_do(stack, docker_client, tiny_image):
    """It is built where Compose finds a buildx that it uses, and by Podman itself; else it is refused by name."""
    s = stack(BUILT)
    s.write("Dockerfile", f"FROM {tiny_image}\nRUN --mount=type=cache,target=/kept echo built > /made\n")
    product = s.world.engine.product()
    if product == engines.DOCKER and "the engine's own builder" in buildx(s.world.compose.version(), product):
        error = await s.fails(UnsupportedByBackendError)
        assert "services.web.build: Compose does not support --mount option without" in str(error)
        return
    try:
        await s.up()
        assert s.sh("web", "cat /made") == "built"
        await s.down(volumes=True, release_ports=True)
    finally:
        docker_client.images.remove(f"{s.name}-web", force=True)
