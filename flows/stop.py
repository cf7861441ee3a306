"""`stop`: stop services of a stack; their containers stay."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.work.operations.down import stop as halt
from moorage.work.queries.status import status as look
from tasks import parameters
from tasks.approval import approval
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(name="stop", flow_run_name="stop {stack}", persist_result=False)
async def stop(
    stack: parameters.StackName,
    services: parameters.Services = parameters.NOTHING,
    timeout_s: parameters.Grace = None,
    force: Annotated[bool, parameters.switch("Force")] = False,
) -> dict[str, Any] | State[Any]:
    """Stop services of a stack, dependents first.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        services: Services to stop. Empty: all.
        timeout_s: Grace period in seconds. Empty: as in the definition.
        force: Kill when the grace period is over, even if a pre_stop hook is still running.
    """
    return await cancellable(_stop(stack, services, timeout_s, force=force))


async def _stop(stack: str, services: list[str], timeout_s: float | None, *, force: bool) -> dict[str, Any]:
    world = logging_world()
    run = await halt(world, stack, services, timeout_s, as_task_runs, str(flow_run.id), approval(), force=force)
    return {**(await look(world, stack)).model_dump(mode="json"), "flow_run_id": run.flow_run_id}
