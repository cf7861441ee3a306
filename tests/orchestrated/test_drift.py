"""A status run of the worker: it tells of drift, and mends it where the definition says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.orchestrated.conftest import create_run, wait_for, wait_for_state
from tests.orchestrated.test_showing import events

if TYPE_CHECKING:
    import docker

    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(900)]

SHOP = """
    x-moorage: {{heal: {heal}}}
    services:
      backend:
        image: '{image}'
        init: true
        command: sleep 600
"""


@pytest.mark.exhaustive
def test_a_crashed_backend_is_told_of_and_mended(
    hub_address: HubAddress,
    project: Project,
    tiny_image: str,
    machine_state: MachineState,
    docker_client: docker.DockerClient,
) -> None:
    project.compose(SHOP.format(heal="false", image=tiny_image))
    project.moorage("up")
    backend = docker_client.containers.get(f"{project.name}-backend-1")
    backend.kill()
    wait_for_state(hub_address, create_run(hub_address, "status", stack=project.name), "COMPLETED")
    backend.reload()
    assert backend.status == "exited", "nobody asked for it to be mended"
    failing = create_run(hub_address, "health", stack=project.name)
    assert "backend: down" in wait_for_state(hub_address, failing, "FAILED")["message"]
    wait_for(lambda: "drifted" in events(hub_address, project.name))
    payload = events(hub_address, project.name)["drifted"]["payload"]
    assert payload["drift"] == ["backend: down: it ended with exit code 137"]
    project.compose(SHOP.format(heal="true", image=tiny_image))
    project.moorage("up")
    backend.kill()
    wait_for_state(hub_address, create_run(hub_address, "status", stack=project.name), "COMPLETED")
    wait_for(lambda: backend.reload() or backend.status == "running")  # a scheduled run may have come first
    wait_for(lambda: "recovered" in events(hub_address, project.name))
    project.moorage("down", "--volumes", "--release-ports")
