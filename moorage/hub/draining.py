"""Runs that the worker is executing when it is to be stopped: naming them, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from moorage.errors import HubError
from moorage.hub import api, process, worker
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome

_POLL_S = 0.5
_UNDER_WAY = ["RUNNING", "PAUSED", "CANCELLING", "PENDING"]


def tell(folder: HubHome, address: HubAddress | None, timeout_s: float, on_line: Callable[[str], None]) -> None:
    """Say which runs will be interrupted, before they are; says nothing if there are none."""
    if names := under_way(folder, address):
        on_line(
            f"interrupting {', '.join(names)}: undone within {timeout_s:g} s, or killed and swept up by the next start"
        )


@contextmanager
def waited_for(folder: HubHome, address: HubAddress | None, on_line: Callable[[str], None]) -> Iterator[None]:
    """Wait until the worker has no more runs; it starts no new ones until the end of the block."""
    said: list[str] = []
    with _nothing_new(folder, address):
        while names := under_way(folder, address):
            if names != said:
                on_line(f"waiting for {', '.join(names)} to end; Ctrl-C leaves the hub as it is")
                said = names
            time.sleep(_POLL_S)
        yield


def under_way(folder: HubHome, address: HubAddress | None) -> list[str]:
    """Names of the runs that our worker is executing. If the server does not answer, their pids."""
    record = folder.worker()
    running = process.children(record.process) if record else ()
    if not running:
        return []
    names: list[str] = []
    with suppress(HubError):
        names = recorded(address, worker.pool_name()) if address else []
    return names or [f"pid {one.pid}" for one in running]


def recorded(address: HubAddress, pool: str | None = None) -> list[str]:
    """Names of the runs that are under way by the server's record. `pool` None: wherever they run. Raises HubError."""
    wanted: dict[str, Any] = {"flow_runs": {"state": {"type": {"any_": _UNDER_WAY}}}}
    if pool:
        wanted["work_pools"] = {"name": {"any_": [pool]}}
    found = api.call(address, "POST", "/flow_runs/filter", wanted) or ()
    return sorted(f"{one['name']} ({one['state']['name']})" for one in found)


@contextmanager
def _nothing_new(folder: HubHome, address: HubAddress | None) -> Iterator[None]:
    """Pause the work pool until the end of the block; a pool that was paused already stays paused."""
    path = f"/work_pools/{worker.pool_name()}"
    pool = api.call(address, "GET", path) if address else None
    if address is None or pool is None or pool["is_paused"] or folder.worker() is None:
        yield
        return
    api.call(address, "PATCH", path, {"is_paused": True})
    try:
        yield
    finally:
        with suppress(HubError):
            api.call(address, "PATCH", path, {"is_paused": False})
