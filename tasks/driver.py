"""How a flow drives an operation: one context for the run, cancelled in order, shown when it has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from prefect import State
from prefect.runtime import flow_run

from moorage.hub.outcome import CALLER
from moorage.model.image import RegistryLogin
from moorage.work.runs.context import Context
from moorage.work.runs.result import Result
from moorage.work.threads import in_thread
from tasks.approval import approval
from tasks.cancelling import cancellable
from tasks.run_artifacts import RunArtifacts
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


async def carried_out(
    operation: Callable[[Context], Awaitable[Any]],
    said: Mapping[str, Any] | None = None,
    logins: tuple[RegistryLogin, ...] = (),
) -> Any | State[Any]:
    """Do an operation as the work of this flow run; gives what the flow returns.

    `said`: settings that the run's parameters have. `logins`: what builds and pulls may use of private registries.
    """
    showing = RunArtifacts()

    async def body() -> Any:
        world = await in_thread(lambda: logging_world(showing, said, logins))  # it opens the registry
        context = Context(world, as_task_runs, str(flow_run.id), await approval())
        caller = CALLER.get()
        found = await operation(replace(context, building=caller.building) if caller and caller.building else context)
        return found.as_dict() if isinstance(found, Result) else found

    return await cancellable(body, showing)
