"""Time to ready of the four-service example, as a ratio to `docker compose up -d --wait` in the same run, and reads.

Both start the same file on the same engine, in turn, images built, volumes fresh, health-check interval 5 s as the file
says. Moorage's time is that of the whole `moorage up` process, with a hub running.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from moorage.model.request import DownRequest
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.operations.down import down
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.benchmarks.conftest import BIN, ROUNDS, Both, run
from tests.benchmarks.figures import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import docker

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800), pytest.mark.usefixtures("warm_hub")]
READS = (("status",), ("ls",), ("ports", "ls"))
MANY = 50
STAGES = (("postgres", "redis"), ("backend",), ("frontend",))
"""Of the example: each waits for the health of the one before."""
PAUSE_S = 0.02


def free_ports(*variables: str) -> dict[str, str]:
    """A free host port for each variable: Compose takes what the file says, and would fail where others run."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in variables]
    ports = [str(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return dict(zip(variables, ports, strict=True))


@pytest.fixture
def example(both: Both, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    """The example; what was built of it goes at the end, as `down` keeps images."""
    for variable, port in free_ports("BACKEND_PORT", "FRONTEND_PORT", "POSTGRES_PORT", "REDIS_PORT").items():
        monkeypatch.setenv(variable, port)
    shutil.copytree(ROOT / "examples" / "commandcenter", both.path, dirs_exist_ok=True)
    yield both
    both.end()
    for tag in [tag for image in docker_client.api.images() for tag in image["RepoTags"] or ()]:
        if f"/{both.path.name}-" in f"/{tag}":
            docker_client.api.remove_image(tag, force=True)


def floor_s(example: Both, client: docker.DockerClient) -> float:
    """What nobody can do without: the starts of its containers, and what each takes until its check is content."""
    example.compose("create")
    began = time.perf_counter()
    for stage in STAGES:
        containers = [f"{example.path.name}-c-{service}-1" for service in stage]
        for container in containers:
            client.api.start(container)
        for container in containers:
            check = client.api.inspect_container(container)["Config"]["Healthcheck"]["Test"][1:]
            while client.containers.get(container).exec_run(check).exit_code:
                time.sleep(PAUSE_S)
    took_s = time.perf_counter() - began
    example.compose("down", "-v")
    return took_s


def test_example(example: Both, docker_client: docker.DockerClient, figure: Callable[..., None]) -> None:
    example.compose("build")
    example.moorage("up")  # builds
    example.moorage("down", "--volumes")
    for _ in range(ROUNDS):
        example.note("floor", floor_s(example, docker_client))
        example.note("compose", example.compose("up", "-d", "--wait"))
        example.compose("down", "-v")
        example.note("moorage", example.moorage("up"))
        example.moorage("down", "--volumes")
    ratio = example.median("moorage") / example.median("compose")
    figure("the example of 4, checks every 5 s", ratio, 0.24, "×", example.how("moorage", "compose"), order=1)
    floor = example.median("floor")
    how = f"starts and checks alone {floor:.2f} s; medians of {ROUNDS}, in turn"
    figure("the example, beyond its starts and checks", example.median("moorage") - floor, 0.9, "s", how, order=1)


def test_reads(both: Both, tiny_image: str, tmp_path: Path, figure: Callable[..., None]) -> None:
    """With one stack, and with fifty."""
    web = f'{{image: "{tiny_image}", command: [httpd, -f, -p, "80"], stop_grace_period: 0s, ports: ["80"]}}'
    text = f"services: {{web: {web}}}\n"
    both.write(text)
    both.moorage("up")
    both.compose("up", "-d")
    world = open_world(settings=Settings(settle_s=0))
    others = [tmp_path / f"{both.path.name}-{number}" for number in range(MANY - 1)]
    try:
        for count, bound in ((1, 0.12), (MANY, 0.2)):
            for verb in READS if count == 1 else READS[1:]:
                took = statistics.median(run(BIN / "moorage", *verb, where=both.path) for _ in range(ROUNDS))
                peer = statistics.median(both.compose("ps") for _ in range(ROUNDS))
                how = f"median of {ROUNDS}, whole process; docker compose ps {peer:.2f} s"
                stacks = "1 stack" if count == 1 else f"{count} stacks"
                figure(f"moorage {' '.join(verb)}, {stacks}", took, bound, "s", how, order=9)
            if count == 1:
                for path in others:
                    path.mkdir()
                    (path / "compose.yaml").write_text(text)
                    asyncio.run(up(Context(world), UpRequest(source=source_of(path, [], [], []))))
    finally:
        for path in others:
            if path.is_dir():
                asyncio.run(down(Context(world), DownRequest(stack=path.name, volumes=True, release_ports=True)))
