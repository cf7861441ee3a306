"""`rollback`: apply an earlier generation of a stack again; it ends with everything ready, or undone."""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.work.operations.rollback import rollback as go_back
from tasks import parameters
from tasks.approval import approval
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs


@flow(name="rollback", flow_run_name="rollback {stack}", persist_result=False)
async def rollback(stack: parameters.StackName, to: parameters.Number = None) -> dict[str, Any] | State[Any]:
    """Apply an earlier generation of a stack again, with the images it was created from.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        to: Number of the generation. Empty: the one before the current generation.
    """
    return await cancellable(_rollback(stack, to))


async def _rollback(stack: str, to: int | None) -> dict[str, Any]:
    run, status = await go_back(logging_world(), stack, to, as_task_runs, str(flow_run.id), approval())
    return {**status.model_dump(mode="json"), "changed": sorted(run.ready_s), "flow_run_id": run.flow_run_id}
