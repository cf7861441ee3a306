"""How long the recovery of a killed `up` of four services takes, beside the time that its services need to stop.

The promise is five seconds for the whole `moorage sweep` process.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from moorage.rules import labels

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

MOST_S = 5.0
SERVICES = ("a", "b", "c", "d")


def test_recovery_of_a_killed_up(
    project: Project,
    docker_client: docker.DockerClient,
    tiny_image: str,
    machine_state: MachineState,
    figure: Callable[..., None],
) -> None:
    one = (
        f'{{image: "{tiny_image}", command: [sleep, infinity], stop_grace_period: 0s, ports: ["80"], '
        "healthcheck: {test: [CMD, test, -f, /none], interval: 60s}}"
    )
    project.compose("services:\n" + "".join(f"  {name}: {one}\n" for name in SERVICES))
    project.moorage("hub", "start")
    going = project.start("up")
    deadline = time.monotonic() + 100
    while running(docker_client, project.name) < len(SERVICES):
        assert time.monotonic() < deadline
        assert going.poll() is None, going.communicate()
        time.sleep(0.05)
    os.kill(going.pid, signal.SIGKILL)
    going.communicate()
    began = time.perf_counter()
    project.process("sweep")
    took_s = time.perf_counter() - began
    machine_state.assert_same()
    figure(
        f"recovery of a killed up of {len(SERVICES)} services", took_s, MOST_S, "s", "one, the whole process", order=8
    )


def running(client: docker.DockerClient, stack: str) -> int:
    """How many containers of the stack run."""
    return len(client.api.containers(filters={"label": f"{labels.COMPOSE_PROJECT}={stack}", "status": "running"}))
