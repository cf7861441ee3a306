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
    recreate: Annotated[bool, parameters.switch("New containers")] = False,
    timeout_s: parameters.Grace = None,
) -> dict[str, Any] | State[Any]:
    """Stop services of a stack and start them again; what depends on them and broke with them comes back too.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        services: Services to restart. Empty: all.
        recreate: Make their containers anew, from the current generation. Named volumes and ports stay.
        timeout_s: Grace period of stops, in seconds. Empty: what the definition says.
    """
    request = RestartRequest(stack=stack, services=tuple(services), recreate=recreate, timeout_s=timeout_s)
    return await carried_out(lambda context: begin_again(context, request))
