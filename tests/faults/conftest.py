"""Stages for the fault tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import driver
from tests.faults.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker


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
