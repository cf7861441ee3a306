"""Stages for the fault tests."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.faults import driver
from tests.faults.interrupting import Scene
from tests.faults.stage import Stage
from tests.orchestrated.conftest import OwnHub, hub_address  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

    from tests.conftest import MachineState, Project


@pytest.fixture
def stage(tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient, tiny_image: str) -> Iterator[Stage]:
    """An empty directory whose stack can be put through faults; nothing of its prefix may be left at the end."""
    made = make_stage(tmp_path, stack_prefix, docker_client)
    yield made
    made.world.store.close()
    for tag in made.world.engine.tags(f"moorage/{made.name}/"):
        made.world.engine.untag(tag)


def make_stage(parent: Path, name: str, client: docker.DockerClient) -> Stage:
    """One more."""
    directory, home = parent / name, parent / "moorage-home"
    directory.mkdir()
    return Stage(directory, home, client, driver.world_of(driver.Deed("", directory, home)))


@pytest.fixture(scope="module")
def hub_to_break(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnHub]:
    """A hub with a worker; tests that end a part of it start it again."""
    one = OwnHub(tmp_path_factory.mktemp("hub"), free_port())
    one.start()
    yield one
    one.stop(timeout_s=1)


@pytest.fixture
def hub_here(request: pytest.FixtureRequest, session_dir: Path) -> OwnHub:
    """The hub of all tests; for the exhaustive ones, many of which kill a part of it, one of this module's own."""
    if request.node.get_closest_marker("exhaustive"):
        found: OwnHub = request.getfixturevalue("hub_to_break")
        return found
    request.getfixturevalue("hub_address")
    return OwnHub(session_dir / "home", int(os.environ["MOORAGE_HUB_PORT"]), {})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def scene(
    project: Project,
    hub_here: OwnHub,
    docker_client: docker.DockerClient,
    machine_state: MachineState,
    tiny_image: str,
) -> Iterator[Scene]:
    project.env.update(hub_here.env | {"MOORAGE_HOME": str(hub_here.home)})
    one = Scene(project, hub_here, docker_client, machine_state, tiny_image)
    yield one
    one.end()
