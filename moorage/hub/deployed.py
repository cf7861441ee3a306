"""Our deployments on a server."""

from __future__ import annotations

from typing import Any

from moorage.hub import api
from moorage.hub.api import HubAddress
from moorage.hub.own_runs import own_flow
from moorage.hub.prefect_file import flow_of
from moorage.hub.worker import pool_name


def found_on(address: HubAddress) -> dict[str, str]:
    """The deployments of our flows in our work pool, those that bear their names: name of the flow → id.

    One that somebody has led elsewhere is not among them: it is as good as gone, until it is deployed again.
    """
    found: list[dict[str, Any]] = api.call(
        address, "POST", "/deployments/filter", {"work_pools": {"name": {"any_": [pool_name()]}}}
    )
    named = ((flow_of(one["name"], pool_name()), one) for one in found)
    return {name: one["id"] for name, one in named if name == own_flow(one["entrypoint"], one.get("pull_steps"))}
