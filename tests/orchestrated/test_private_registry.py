"""Images of a private registry, pulled with a Block's credentials; the registry is a real one on loopback."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from tests.orchestrated.conftest import create_run, wait_for_state
from tests.orchestrated.test_forms import places_of, save_block
from tests.private_registry import PASSWORD, USER, only_there, serving

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture
def registry(tmp_path: Path, free_port: int) -> Iterator[str]:
    """`127.0.0.1:PORT` of a registry that wants a password."""
    with serving(tmp_path / "registry", free_port) as address:
        yield address


@pytest.fixture
def private_image(
    registry: str, docker_client: docker.DockerClient, tiny_image: str, stack_prefix: str
) -> Iterator[str]:
    """An image that is in the registry only."""
    with only_there(docker_client, tiny_image, f"{registry}/{stack_prefix}") as name:
        yield name


@pytest.mark.exhaustive
def test_a_private_image_is_pulled_with_the_block_and_refused_without(
    hub_address: HubAddress,
    project: Project,
    private_image: str,
    machine_state: MachineState,
    session_dir: Path,
    docker_client: docker.DockerClient,
) -> None:
    registry = private_image.partition("/")[0]
    project.compose(f"services: {{web: {{image: '{private_image}', init: true, command: sleep 3600}}}}")
    save_block(
        hub_address,
        "from prefect_docker import DockerRegistryCredentials as Login\n"
        f"Login(username={USER!r}, password={PASSWORD!r}, registry_url='http://{registry}').save({project.name!r})\n"
        f"StackSource(path={str(project.path)!r}, registry_credentials={project.name!r}).save({project.name!r})\n",
    )
    refused = project.moorage("up", "--json", exit_code=5).json
    assert "no basic auth credentials" in json.dumps(refused)
    machine_state.assert_same()
    build = create_run(hub_address, "build", stack=project.name)
    nobody = create_run(hub_address, "up", path=str(project.path), registry_credentials="nobody")
    wait_for_state(hub_address, build, "COMPLETED")
    failed = wait_for_state(hub_address, nobody, "FAILED")
    assert "registry_credentials: nobody: there is no such block on the hub" in failed["message"]
    docker_client.images.remove(private_image, noprune=True)  # the source's credentials have brought it
    up = project.moorage("up", "--json", "--registry-credentials", project.name).json
    assert up["state"] == "running"
    project.moorage("down", "--volumes", "--release-ports")
    for secret in (PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode()):
        assert places_of(secret, session_dir) == []
    assert list((session_dir / "home" / "logins").iterdir()) == []
