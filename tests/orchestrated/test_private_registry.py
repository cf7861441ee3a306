"""Images of a private registry, pulled with a Block's credentials; the registry is a real one on loopback."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from tests.orchestrated.conftest import create_run, wait_for, wait_for_state
from tests.orchestrated.test_forms import places_of, save_block

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.engine, pytest.mark.timeout(600)]

USER, PASSWORD = "ada", "reg-8sK_most.unlikely-41"
SCRIPT = Path(__file__).parents[2] / "scripts" / "registry"


@pytest.fixture
def registry(tmp_path: Path, free_port: int) -> Iterator[str]:
    """`127.0.0.1:PORT` of a registry that wants a password."""
    port = free_port
    subprocess.run([SCRIPT], check=True, capture_output=True, timeout=120)
    command = [SCRIPT, str(tmp_path / "registry"), str(port), USER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as serving:
        assert serving.stdin is not None
        serving.stdin.write(PASSWORD)
        serving.stdin.close()
        try:
            wait_for(lambda: _asks_for_a_password(port))
            yield f"127.0.0.1:{port}"
        finally:
            serving.terminate()


def _asks_for_a_password(port: int) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/v2/", timeout=60)
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 401
    except OSError:
        return False
    return False


@pytest.fixture
def private_image(
    registry: str, docker_client: docker.DockerClient, tiny_image: str, stack_prefix: str
) -> Iterator[str]:
    """An image that is in the registry only."""
    name = f"{registry}/{stack_prefix}"
    docker_client.images.get(tiny_image).tag(name, "1")
    said = docker_client.images.push(name, "1", auth_config={"username": USER, "password": PASSWORD})
    assert '"error"' not in said, said
    docker_client.images.remove(f"{name}:1", noprune=True)
    yield f"{name}:1"
    with suppress(docker.errors.ImageNotFound):
        docker_client.images.remove(f"{name}:1", noprune=True)


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
    project.compose(f"services: {{web: {{image: '{private_image}', init: true, command: sleep 60}}}}")
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
