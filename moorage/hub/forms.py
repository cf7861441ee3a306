"""Forms of deployments: what the schema of their parameters does not know is refused before a run is created."""

from __future__ import annotations

from typing import Any

from moorage.hub import api
from moorage.hub.api import HubAddress
from moorage.hub.own_runs import own_flow
from moorage.hub.worker import pool_name


def close_all(address: HubAddress) -> None:
    """Close the forms of all deployments of our flows. Raises HubError.

    Prefect writes schemas that allow any other parameter besides, and `prefect deploy` has no option for it: a
    deployment that somebody has made by hand is closed here too, the next time that the hub is started.
    """
    wanted = {"work_pools": {"name": {"any_": [pool_name()]}}}
    for one in api.call(address, "POST", "/deployments/filter", wanted) or ():
        schema = one.get("parameter_openapi_schema")
        if schema and own_flow(one["entrypoint"], one.get("pull_steps")) and closed(schema) != schema:
            api.call(address, "PATCH", f"/deployments/{one['id']}", {"parameter_openapi_schema": closed(schema)})


def closed(schema: Any) -> Any:
    """The schema without room for what it does not name, at every depth. Maps of any name keep their own rule."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: closed(value) for key, value in schema.items()}
    is_form = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    return {"additionalProperties": False, **inside} if is_form else inside
