"""`prefect.yaml` adapted to this machine: its own work pool, schedules on or off."""

from __future__ import annotations

from typing import Any

POOL = "moorage"
"""The pool named in `prefect.yaml`; its deployments have the names of their flows."""


def rendered(text: str, pool: str, *, schedules: bool) -> str:
    """The file's text for a pool. `schedules` False: all schedules are off."""
    import yaml  # type: ignore[import-untyped]

    project: dict[str, Any] = yaml.safe_load(text)
    project.pop("definitions", None)
    for one in project["deployments"]:
        one["name"] = deployment_of(one["name"], pool)
        one["work_pool"] = {**one["work_pool"], "name": pool}
        for schedule in one.get("schedules") or ():
            schedule["active"] = bool(schedule.get("active", True) and schedules)
    written: str = yaml.safe_dump(project, sort_keys=False)
    return written


def deployment_of(flow: str, pool: str) -> str:
    """Name of a flow's deployment. Machines that share a server each have their own pool and so their own names."""
    return flow if pool == POOL else f"{flow}.{pool}"


def flow_of(deployment: str, pool: str) -> str:
    """The flow of one of our deployments."""
    return deployment if pool == POOL else deployment.removesuffix(f".{pool}")
