"""`python -m moorage.hub.setup`: register the blocks and deploy the flows of the project in the working directory.

This is a separate process, so that Prefect is imported once, with settings from the environment given to it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorage import bounded
from moorage.adapters.files import LocalFiles
from moorage.hub.collection import block_modules
from moorage.hub.hub_home import hub_home
from moorage.hub.prefect_file import rendered
from moorage.settings import settings

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.schemas.responses import DeploymentResponse


def main() -> None:
    """Register and deploy; an error ends the process with a traceback."""
    sys.path.insert(0, str(Path.cwd()))
    switched = asyncio.run(_register())
    _deploy(_written())
    asyncio.run(_switch(switched))


async def _register() -> dict[str, bool]:
    """Register the blocks; returns which schedules are on, by deployment and slug."""
    for kind in _blocks():
        await kind.register_type_and_schema()
        print(f"block {kind.get_block_type_slug()}")  # noqa: T201
    return {_key(one, schedule): schedule.active for one in await _deployments() for schedule in one.schedules}


def _blocks() -> list[type[Block]]:
    """Our blocks, and those of prefect-docker if it is installed."""
    from prefect.blocks.core import Block

    modules = block_modules()
    with suppress(ImportError):
        modules += [importlib.import_module(f"prefect_docker.{name}") for name in ("host", "credentials")]
    found = [(module, value) for module in modules for value in vars(module).values()]
    return [
        value
        for module, value in found
        if isinstance(value, type) and issubclass(value, Block) and value.__module__ == module.__name__
    ]


def _written() -> Path:
    """Write `prefect.yaml`, adapted to this machine."""
    written = bounded.text_of(Path("prefect.yaml"), bounded.SETTINGS_BYTES, errors="strict")
    text = rendered(written, settings().pool, schedules=settings().schedules)
    return LocalFiles(hub_home().path).write("prefect.yaml", text)


def _deploy(file: Path) -> None:
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise


async def _switch(switched: dict[str, bool]) -> None:
    """Restore schedules that were switched on or off by hand: `prefect deploy` resets them to the file's values.

    If the setting `schedules` was changed, it applies to all of them instead.
    """
    if not settings().schedules or not _had_schedules():
        return
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for one in await _deployments():
            for schedule in one.schedules:
                wanted = switched.get(_key(one, schedule), schedule.active)
                if wanted != schedule.active:
                    await client.update_deployment_schedule(one.id, schedule.id, active=wanted)


def _had_schedules() -> bool:
    """Whether the existing deployments were created with schedules."""
    try:
        return bool(json.loads(hub_home().deployed()).get("schedules", True))
    except (ValueError, AttributeError):
        return True


async def _deployments() -> list[DeploymentResponse]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    async with get_client() as client:
        return await client.read_deployments(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[settings().pool]))
        )


def _key(deployment: DeploymentResponse, schedule: Any) -> str:
    return f"{deployment.name}/{schedule.slug}"


if __name__ == "__main__":
    main()
