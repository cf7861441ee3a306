"""`stop`: stop services of a stack; their containers stay."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow

from moorage.model.request import StopRequest
from moorage.work.operations.stop import stop as halt
from tasks import parameters
from tasks.driver import carried_out


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
    request = StopRequest(stack=stack, services=tuple(services), timeout_s=timeout_s, force=force)
    return await carried_out(lambda context: halt(context, request))
