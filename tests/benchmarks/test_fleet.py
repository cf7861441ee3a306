"""Twenty stacks of four services as a fleet, beside `docker compose up -d --wait` of the same files, as many at once.

Four services in a chain, each with a health check every 5 s that succeeds at its first look.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import psutil
import pytest

from tests.benchmarks.conftest import BIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import docker

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800), pytest.mark.usefixtures("warm_hub")]
STACKS, AT_ONCE = 20, 4
CHAIN = ("db", "cache", "backend", "frontend")
MOST, MOST_MIB = 0.5, 700


def definition(image: str) -> str:
    lines = ["services:"]
    for before, name in zip((None, *CHAIN), CHAIN, strict=False):
        needs = f"depends_on: {{{before}: {{condition: service_healthy}}}}, " if before else ""
        lines.append(
            f'  {name}: {{image: "{image}", command: [sleep, infinity], stop_grace_period: 0s, {needs}ports: ["80"], '
            "healthcheck: {test: [CMD, 'true'], interval: 5s}}"
        )
    return "\n".join(lines) + "\n"


class Memory:
    """The most that all processes of ours needed at a time, counted by shares; the engine's are not among them."""

    def __init__(self) -> None:
        self.most_mib = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self.most_mib = max(self.most_mib, sum(map(self._mib, psutil.process_iter())))

    @staticmethod
    def _mib(process: psutil.Process) -> float:
        try:
            ours = process.pid != os.getpid() and process.environ().get("MOORAGE_HOME") == os.environ["MOORAGE_HOME"]
            return process.memory_full_info().pss / 2**20 if ours else 0.0
        except psutil.Error:
            return 0.0


def test_a_fleet_against_compose(
    tmp_path: Path,
    docker_client: docker.DockerClient,
    tiny_image: str,
    stack_prefix: str,
    figure: Callable[..., None],
) -> None:
    folders = [tmp_path / f"{stack_prefix}-{number}" for number in range(STACKS)]
    for folder in folders:
        folder.mkdir()
        (folder / "compose.yaml").write_text(definition(tiny_image))
    pattern = str(tmp_path / f"{stack_prefix}-*")

    def compose(folder: Path, *verb: str) -> None:
        command = [BIN / "docker-compose", "--project-directory", folder, "-p", folder.name, *verb]
        subprocess.run(command, check=True, capture_output=True, timeout=900)

    def moorage(*verb: str) -> float:
        began = time.perf_counter()
        done = subprocess.run([BIN / "moorage", "fleet", *verb, pattern], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return time.perf_counter() - began

    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.perf_counter()
        list(pool.map(lambda folder: compose(folder, "up", "-d", "--wait"), folders))
        of_compose_s = time.perf_counter() - began
        list(pool.map(lambda folder: compose(folder, "down", "-v"), folders))
    with Memory() as memory:
        of_moorage_s = moorage("up", "--at-once", str(AT_ONCE))
    running = docker_client.api.containers(filters={"name": stack_prefix})
    ports = [port["PublicPort"] for one in running for port in one["Ports"] if port.get("PublicPort")]
    down_s = moorage("down", "--release-ports")
    assert len(running) == STACKS * len(CHAIN)
    assert len(ports) == len(set(ports)) == len(running)
    how = f"{of_moorage_s:.1f} s beside {of_compose_s:.1f} s, {AT_ONCE} at once, one round; down {down_s:.1f} s"
    figure(f"a fleet of {STACKS} stacks of 4", of_moorage_s / of_compose_s, MOST, "×", how, order=10)
    figure("the same, memory at most", memory.most_mib, MOST_MIB, "MiB", "the command and the hub, by shares", order=11)
