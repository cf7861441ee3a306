"""`python -m moorage.hub.setup`: register the blocks and deploy the flows of the project in the working directory.

A process of its own, so that Prefect is imported once and its settings come from the environment it was given.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.schemas.responses import DeploymentResponse


def main() -> None:
    """Do it; what fails, fails the process with a traceback."""
    sys.path.insert(0, str(Path.cwd()))
    switched = asyncio.run(_register())
    _deploy()
    asyncio.run(_switch(switched))


async def _register() -> dict[str, bool]:
    """Register the blocks; gives which schedules are on, by deployment and slug."""
    for kind in _blocks():
        await kind.register_type_and_schema()
        print(f"block {kind.get_block_type_slug()}")  # noqa: T201
    return {_key(one, schedule): schedule.active for one in await _deployments() for schedule in one.schedules}


def _blocks() -> list[type[Block]]:
    from prefect.blocks.core import Block

    names = [module.name for module in pkgutil.iter_modules(["blocks"], "blocks.")]
    modules: list[ModuleType] = [importlib.import_module(name) for name in names]
    found = [(module, value) for module in modules for value in vars(module).values()]
    return [
        value
        for module, value in found
        if isinstance(value, type) and issubclass(value, Block) and value.__module__ == module.__name__
    ]


def _deploy() -> None:
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise


async def _switch(switched: dict[str, bool]) -> None:
    """Schedules that somebody switched on or off stay so: `prefect deploy` sets them to what the file says."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for one in await _deployments():
            for schedule in one.schedules:
                wanted = switched.get(_key(one, schedule), schedule.active)
                if wanted != schedule.active:
                    await client.update_deployment_schedule(one.id, schedule.id, active=wanted)


async def _deployments() -> list[DeploymentResponse]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    from moorage.hub.worker import POOL

    async with get_client() as client:
        return await client.read_deployments(work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])))


def _key(deployment: DeploymentResponse, schedule: Any) -> str:
    return f"{deployment.name}/{schedule.slug}"


if __name__ == "__main__":
    main()
