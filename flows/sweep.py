"""`sweep`: clean up what crashes, deleted directories and expired stacks have left behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.errors import HubError
from moorage.hub.dead_runs import set_to_crashed
from moorage.hub.outcome import own_address
from moorage.work.operations.sweep import Sweep
from moorage.work.operations.sweep import sweep as clear_away
from moorage.work.threads import in_thread
from tasks import parameters
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs

_RUNS = 500
"""How many of the latest runs are examined."""


@flow(name="sweep", flow_run_name="sweep", persist_result=False)
async def sweep(
    dry_run: Annotated[bool, parameters.switch("Dry run")] = False,
    volumes: Annotated[bool, parameters.switch("Remove volumes")] = False,
) -> dict[str, Any] | State[Any]:
    """Clean up what was left behind; only containers, networks and volumes of Moorage are ever touched.

    Args:
        dry_run: Only say what would be done.
        volumes: Also remove the volumes of stacks whose directory is gone or that have expired: their data is lost.
    """
    return await cancellable(_sweep(Sweep(logging_world(), dry_run=dry_run, volumes=volumes, act_of=as_task_runs)))


async def _sweep(asked: Sweep) -> dict[str, Any]:
    found = await clear_away(asked)
    if not asked.dry_run:
        await in_thread(lambda: _tell_prefect(asked))
    return {"findings": [one.model_dump(mode="json") for one in found], "flow_run_id": str(flow_run.id)}


def _tell_prefect(asked: Sweep) -> None:
    """Set flow runs of killed processes to Crashed, including those that an `up` has recovered in the meantime."""
    recovered = [run for run in asked.world.store.runs(None, _RUNS) if (run.outcome or "").startswith("recover")]
    if address := own_address():
        with suppress(HubError):  # the next sweep tries again
            set_to_crashed(address, [run.flow_run_id for run in recovered if run.flow_run_id])
