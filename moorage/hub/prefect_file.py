"""`prefect.yaml` as this machine deploys it: its own work pool, schedules on or off."""

from __future__ import annotations

from typing import Any

POOL = "moorage"
"""The pool that `prefect.yaml` names, and whose deployments are called as their flows."""


def rendered(text: str, pool: str, *, schedules: bool) -> str:
    """The file's text for a pool. Without `schedules` all of them are off."""
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
    """The name of a flow's deployment. Machines that share a server have pools, and so deployments, of their own."""
    return flow if pool == POOL else f"{flow}.{pool}"


def flow_of(deployment: str, pool: str) -> str:
    """The flow that a deployment of ours is for."""
    return deployment if pool == POOL else deployment.removesuffix(f".{pool}")
