"""`rollback`: apply an earlier generation of a stack again; it ends with everything ready, or undone."""

from __future__ import annotations

from typing import Any

from prefect import State, flow

from moorage.model.request import RollbackRequest
from moorage.work.operations.rollback import rollback as go_back
from tasks import parameters
from tasks.driver import carried_out


@flow(name="rollback", flow_run_name="rollback {stack}", persist_result=False)
async def rollback(stack: parameters.StackName, to: parameters.Number = None) -> dict[str, Any] | State[Any]:
    """Apply an earlier generation of a stack again, with the images it was created from.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        to: Number of the generation. Empty: the one before the current generation.
    """
    request = RollbackRequest(stack=stack, to=to)
    return await carried_out(lambda context: go_back(context, request))
