"""`start`: start services of a stopped stack again, in dependency order."""

from __future__ import annotations

from typing import Any

from prefect import State, flow

from moorage.model.request import StartRequest
from moorage.work.operations.start import start as begin
from tasks import parameters
from tasks.driver import carried_out


@flow(name="start", flow_run_name="start {stack}", persist_result=False)
async def start(
    stack: parameters.StackName, services: parameters.Services = parameters.NOTHING
) -> dict[str, Any] | State[Any]:
    """Start services of a stack and their dependencies.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        services: Services to start. Empty: all.
    """
    request = StartRequest(stack=stack, services=tuple(services))
    return await carried_out(lambda context: begin(context, request))
