"""How many stacks with a network each fit one engine with its default pools, beside plain Compose on the same engine."""

from __future__ import annotations

import asyncio
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moorage.model.request import DownRequest
from moorage.rules import subnets
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.operations.down import down
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.benchmarks.conftest import BIN

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
STACKS = 250
SUBNETS = str(Settings.model_fields["subnets"].default)
COMPOSE_TRIES = 60
AT_ONCE = 3


def test_stacks_with_a_network_each(
    tmp_path: Path,
    docker_client: docker.DockerClient,
    tiny_image: str,
    stack_prefix: str,
    figure: Callable[..., None],
) -> None:
    text = f'services: {{web: {{image: "{tiny_image}", command: [sleep, infinity], stop_grace_period: 0s}}}}\n'

    def project(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "compose.yaml").write_text(text)
        return folder

    of_compose = with_compose(project(f"{stack_prefix}-c"), stack_prefix)
    ours = asyncio.run(
        with_moorage([project(f"{stack_prefix}-{number}") for number in range(STACKS)], tmp_path / "home")
    )
    networks = [one for one in docker_client.api.networks() if one["Name"].startswith(stack_prefix)]
    ranges = subnets.ranges_of(SUBNETS)
    small = [one for one in networks if is_within(one["IPAM"]["Config"][0]["Subnet"], ranges)]
    asyncio.run(all_down(ours, tmp_path / "home"))
    how = f"of {STACKS}; Compose created {of_compose}, of {COMPOSE_TRIES}"
    figure("stacks with a network each on one engine", len(small), STACKS, "", how, at_least=True, order=12)


def is_within(subnet: str, ranges: tuple[IPv4Network, ...]) -> bool:
    return any(IPv4Network(subnet).subnet_of(one) for one in ranges)


def with_compose(folder: Path, prefix: str) -> int:
    """How many plain Compose can create; they are removed again."""
    created = 0
    compose = [BIN / "docker-compose", "--project-directory", folder]
    names = [f"{prefix}-c{number}" for number in range(COMPOSE_TRIES)]
    for name in names:
        made = subprocess.run(
            [*compose, "-p", name, "create"], capture_output=True, text=True, check=False, timeout=300
        )
        if made.returncode:
            assert "non-overlapping" in made.stderr or "subnetted" in made.stderr, made.stderr
            break
        created += 1
    for name in names[: created + 1]:
        subprocess.run([*compose, "-p", name, "down", "-t", "0"], capture_output=True, check=True, timeout=300)
    return created


async def with_moorage(folders: list[Path], home: Path) -> list[str]:
    """Bring all of them up; gives their names."""
    world, slots = open_world(settings=Settings(home=home, settle_s=0, subnets=SUBNETS)), asyncio.Semaphore(AT_ONCE)

    async def bring(folder: Path) -> str:
        async with slots:
            result = await up(Context(world), UpRequest(source=source_of(folder, [], [], []), name=folder.name))
            return result.run.stack

    return list(await asyncio.gather(*map(bring, folders)))


async def all_down(names: list[str], home: Path) -> None:
    world, slots = open_world(settings=Settings(home=home)), asyncio.Semaphore(AT_ONCE)

    async def end(name: str) -> None:
        async with slots:
            await down(Context(world), DownRequest(stack=name, release_ports=True, volumes=True))

    await asyncio.gather(*map(end, names))
