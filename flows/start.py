"""`start`: start services of a stopped stack again, in dependency order."""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.work.operations.down import start as begin
from tasks import parameters
from tasks.approval import approval
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(name="start", flow_run_name="start {stack}", persist_result=False)
async def start(
    stack: parameters.StackName, services: parameters.Services = parameters.NOTHING
) -> dict[str, Any] | State[Any]:
    """Start services of a stack and their dependencies.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        services: Services to start. Empty: all.
    """
    return await cancellable(_start(stack, services))


async def _start(stack: str, services: list[str]) -> dict[str, Any]:
    run, status = await begin(logging_world(), stack, services, as_task_runs, str(flow_run.id), approval())
    return {**status.model_dump(mode="json"), "flow_run_id": run.flow_run_id}
