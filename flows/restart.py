"""`restart`: stop services of a stack and start them again, in dependency order."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow

from moorage.model.request import RestartRequest
from moorage.work.operations.restart import restart as begin_again
from tasks import parameters
from tasks.driver import carried_out


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
    request = RestartRequest(stack=stack, services=tuple(services), recreate=recreate, timeout_s=timeout_s)
    return await carried_out(lambda context: begin_again(context, request))
