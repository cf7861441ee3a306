"""`sweep`: clear away what crashes, deleted directories and expired stacks have left behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.errors import HubError
from moorage.hub import log_files
from moorage.hub.dead_runs import set_to_crashed
from moorage.hub.hub_home import hub_home
from moorage.hub.outcome import own_address
from moorage.work.operations.sweep import Sweep
from moorage.work.operations.sweep import sweep as clear_away
from moorage.work.threads import in_thread
from tasks import parameters
from tasks.cancelling import cancellable
from tasks.run_log import logging_world
from tasks.steps import as_task_runs

_RUNS = 500
"""How many of the last runs are looked at."""


@flow(name="sweep", flow_run_name="sweep", persist_result=False)
async def sweep(
    dry_run: Annotated[bool, parameters.switch("Only look")] = False,
    volumes: Annotated[bool, parameters.switch("Volumes too")] = False,
) -> dict[str, Any] | State[Any]:
    """Clear away what was left behind; other people's containers, networks and volumes are never touched.

    Args:
        dry_run: Only say what would be done.
        volumes: Also remove the volumes of stacks whose directory is gone or whose time has passed: their data is lost.
    """
    return await cancellable(_sweep(Sweep(logging_world(), dry_run=dry_run, volumes=volumes, act_of=as_task_runs)))


async def _sweep(asked: Sweep) -> dict[str, Any]:
    found = await clear_away(asked)
    limit_bytes = asked.world.settings.hub_log_bytes
    found += await in_thread(lambda: log_files.swept(hub_home(), limit_bytes, dry_run=asked.dry_run))
    if not asked.dry_run:
        await in_thread(lambda: _tell_prefect(asked))
    return {"findings": [one.model_dump(mode="json") for one in found], "flow_run_id": str(flow_run.id)}


def _tell_prefect(asked: Sweep) -> None:
    """Flow runs of killed processes would be Running for ever; those too that an `up` has recovered meanwhile."""
    recovered = [run for run in asked.world.store.runs(None, _RUNS) if (run.outcome or "").startswith("recover")]
    if address := own_address():
        with suppress(HubError):  # the next sweep tells it
            set_to_crashed(address, [run.flow_run_id for run in recovered if run.flow_run_id])
