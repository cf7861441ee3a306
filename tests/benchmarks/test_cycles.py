"""200 times up and down in one process and one hub: nothing grows that is not bounded."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from moorage.model.request import DownRequest
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.operations.down import down
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.work.threads import MOST_THREADS, POOL_NAME
from moorage.world import open_world

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
CYCLES = int(os.environ.get("BENCH_CYCLES", "200"))
WARM = 20


def pool_threads() -> int:
    """Of the pool that steps run in: as many as calls have ever run at once, and it keeps them."""
    return sum(one.name.startswith(f"{POOL_NAME}_") for one in threading.enumerate())


def looked(home: Path) -> dict[str, float]:
    gc.collect()
    me = psutil.Process()
    database = sum(file.stat().st_size for file in home.glob("hub.db*"))
    return {
        "MiB of memory": me.memory_full_info().uss / 2**20,
        "handles": float(me.num_fds()),
        "threads besides the pool's": float(threading.active_count() - pool_threads()),
        "KiB of registry": database / 1024,
    }


def test_cycles(
    tmp_path: Path, stack_prefix: str, docker_client: object, tiny_image: str, figure: Callable[..., None]
) -> None:
    path = tmp_path / stack_prefix
    path.mkdir()
    one = f'{{image: "{tiny_image}", command: [httpd, -f, -p, "80"], stop_grace_period: 0s, ports: ["80"]}}'
    (path / "compose.yaml").write_text(f"services: {{web: {one}, db: {one}}}\n")
    # Few are kept, so that their bounds are reached in the warm-up.
    settings = Settings(home=tmp_path / "home", settle_s=0, keep_runs=10, keep_timings=10, keep_generations=2)
    world, request = open_world(settings=settings), UpRequest(source=source_of(path, [], [], []))

    async def cycle() -> None:
        await up(Context(world), request)
        await down(Context(world), DownRequest(stack=path.name))

    before: dict[str, float] = {}
    for number in range(CYCLES):
        asyncio.run(cycle())
        if number == WARM:
            before = looked(settings.home)
    after = looked(settings.home)
    leases = len(world.store.leases())
    for what, value in after.items():
        how = f"{before[what]:.0f} after {WARM} cycles, {value:.0f} after {CYCLES}"
        figure(f"{what} after {CYCLES} times up and down", value / before[what], 1.1, "× that after 20", how, order=30)
    how = "as many as calls have run at once; the pool keeps them"
    figure(f"threads of the pool after {CYCLES} times up and down", pool_threads(), MOST_THREADS, "", how, order=30)
    figure(f"leases after {CYCLES} times up and down", leases, 2, "", "one for each published port", order=30)
    asyncio.run(down(Context(world), DownRequest(stack=path.name, release_ports=True, volumes=True)))
