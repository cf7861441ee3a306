"""Our deployments on a server."""

from __future__ import annotations

from typing import Any

from moorage.hub import api
from moorage.hub.api import HubAddress
from moorage.hub.prefect_file import flow_of
from moorage.hub.worker import pool_name


def found_on(address: HubAddress) -> dict[str, str]:
    """The deployments of our work pool on the server: name of the flow → id."""
    found: list[dict[str, Any]] = api.call(
        address, "POST", "/deployments/filter", {"work_pools": {"name": {"any_": [pool_name()]}}}
    )
    return {flow_of(deployment["name"], pool_name()): deployment["id"] for deployment in found}
