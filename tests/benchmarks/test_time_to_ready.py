"""Time to ready of the four-service example, as a ratio to `docker compose up -d --wait` in the same run.

Both start the same file on the same engine, in turn, images built, volumes fresh, health-check interval 5 s as the file
says. Moorage's time is that of the whole `moorage up` process, with a hub running. `make bench` prints the figures.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "commandcenter"
BIN = Path(sys.executable).parent
ROUNDS = 5
MOST = 0.40


def free_ports(*variables: str) -> dict[str, str]:
    """A free host port for each variable: Compose takes what the file says, and would fail where others run."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in variables]
    ports = [str(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return dict(zip(variables, ports, strict=True))


ENVIRONMENT = os.environ | free_ports("BACKEND_PORT", "FRONTEND_PORT", "POSTGRES_PORT", "REDIS_PORT")


def run(*command: str | Path) -> float:
    """Run a command in the example's directory; seconds it took."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=EXAMPLE, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return time.perf_counter() - began


@pytest.fixture
def hub() -> Iterator[None]:
    run(BIN / "moorage", "hub", "start")
    yield
    run(BIN / "moorage", "hub", "stop")


@pytest.fixture
def bench(docker_client: docker.DockerClient) -> Iterator[str]:
    """The first part of all names here; image tags that have it go at the end, as `down` keeps images."""
    name = f"bench-{os.getpid()}"
    yield name
    tags = [tag for image in docker_client.api.images() for tag in image["RepoTags"] or ()]
    for tag in tags:
        if f"/{name}-" in f"/{tag}":
            docker_client.api.remove_image(tag, force=True)


def test_time_to_ready_against_compose(hub: None, bench: str, capsys: pytest.CaptureFixture[str]) -> None:
    compose = [BIN / "docker-compose", "-p", f"{bench}-compose"]
    moorage, name = BIN / "moorage", ["--name", f"{bench}-moorage"]
    run(*compose, "build")
    run(moorage, "up", *name)  # builds
    run(moorage, "down", *name, "--volumes")
    times: dict[str, list[float]] = {"compose": [], "moorage": []}
    try:
        for _ in range(ROUNDS):
            times["compose"].append(run(*compose, "up", "-d", "--wait"))
            run(*compose, "down", "-v")
            times["moorage"].append(run(moorage, "up", *name))
            run(moorage, "down", *name, "--volumes")
    finally:
        run(*compose, "down", "-v", "--rmi", "local")
        run(moorage, "down", *name, "--volumes", "--release-ports")
    medians = {key: statistics.median(values) for key, values in times.items()}
    ratio = medians["moorage"] / medians["compose"]
    with capsys.disabled():
        print()
        for key, values in times.items():
            print(
                f"{key:8} median {medians[key]:6.2f} s   min {min(values):6.2f}   max {max(values):6.2f}   n {ROUNDS}"
            )
        print(f"ratio    {ratio:.2f} of docker compose up -d --wait (at most {MOST:.2f})")
    assert ratio <= MOST


def test_up_on_a_stack_that_is_up_and_reads(hub: None, bench: str, capsys: pytest.CaptureFixture[str]) -> None:
    moorage, name = BIN / "moorage", ["--name", f"{bench}-idle"]
    run(moorage, "up", *name)
    try:
        medians = {
            verb: statistics.median(run(moorage, *verb.split(), *(name if verb != "ls" else ())) for _ in range(ROUNDS))
            for verb in ("up", "status", "ls", "ports ls")
        }
    finally:
        run(moorage, "down", *name, "--volumes", "--release-ports")
    with capsys.disabled():
        print()
        for verb, seconds in medians.items():
            print(f"moorage {verb:8} median {seconds:5.2f} s   n {ROUNDS}")
    assert medians.pop("up") <= 0.6
    assert max(medians.values()) <= 0.4
