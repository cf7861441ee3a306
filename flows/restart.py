"""`restart`: stop services of a stack and start them again, in dependency order."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.work.operations.restart import restart as begin_again
from moorage.work.runs.lifecycle import RestartOptions
from tasks import parameters
from tasks.approval import approval
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(name="restart", flow_run_name="restart {stack}", persist_result=False)
async def restart(
    stack: parameters.StackName,
    services: parameters.Services = parameters.NOTHING,
    recreate: Annotated[bool, parameters.switch("Re-create containers")] = False,
    timeout_s: parameters.Grace = None,
) -> dict[str, Any] | State[Any]:
    """Stop services of a stack and start them again; dependents that are not ready are restarted too.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        services: Services to restart. Empty: all.
        recreate: Re-create their containers from the current generation. Named volumes and ports stay.
        timeout_s: Grace period for stopping a service, in seconds. Empty: as in the definition.
    """
    return await cancellable(_restart(stack, services, RestartOptions(recreate=recreate, grace_s=timeout_s)))


async def _restart(stack: str, services: list[str], asked: RestartOptions) -> dict[str, Any]:
    run, status = await begin_again(logging_world(), stack, services, asked, as_task_runs, str(flow_run.id), approval())
    return {**status.model_dump(mode="json"), "changed": sorted(run.again), "flow_run_id": run.flow_run_id}
