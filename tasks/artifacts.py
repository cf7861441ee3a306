"""What a run leaves to look at in the UI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from prefect.artifacts import acreate_table_artifact

from moorage.model.state import StackStatus

_LOGGER = logging.getLogger("moorage.run")
_PATIENCE_S = 3.0


async def briefly(publishing: Coroutine[Any, Any, None]) -> None:
    """Publish if that can be done in short: a run that has committed does not fail, wait or stop for its pictures."""
    task = asyncio.ensure_future(publishing)
    try:
        await asyncio.wait([task], timeout=_PATIENCE_S)
    except asyncio.CancelledError:
        _LOGGER.info("a cancel came after the run had committed")
    if not task.done():
        task.cancel()
    elif error := task.exception():
        _LOGGER.warning("could not publish: %s", error)


async def publish(status: StackStatus) -> None:
    """The table of services, with their addresses as links."""
    rows = [
        {
            "service": name,
            "state": service.state,
            "address": ", ".join(
                f"[{p.host_ip}:{p.published}](http://{p.host_ip}:{p.published})" for p in service.ports
            ),
            "time to ready (s)": service.time_to_ready_s,
            "image": (service.image_id or "")[:19],
        }
        for name, service in status.services.items()
    ]
    key = f"moorage-{status.stack.replace('_', '-')}"
    await acreate_table_artifact(
        table=rows, key=key, description=f"Stack {status.stack}, generation {status.generation}"
    )
