"""`sweep`: clean up what crashes, deleted directories and expired stacks have left behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from prefect import State, flow

from moorage.errors import HubError
from moorage.hub import log_files
from moorage.hub.dead_runs import set_to_crashed
from moorage.hub.hub_home import hub_home
from moorage.hub.outcome import own_address
from moorage.interfaces import World
from moorage.model.request import SweepRequest
from moorage.model.state import RunOutcome
from moorage.work.operations.sweep import sweep as clear_away
from moorage.work.runs.context import Context
from moorage.work.threads import in_thread
from tasks import parameters
from tasks.driver import carried_out

_RUNS = 500
"""How many of the latest runs are examined."""


@flow(name="sweep", flow_run_name="sweep", persist_result=False)
async def sweep(
    dry_run: Annotated[bool, parameters.switch("Dry run")] = False,
    volumes: Annotated[bool, parameters.switch("Remove volumes")] = False,
    disk: parameters.DiskSize = "",
) -> dict[str, Any] | State[Any]:
    """Clean up what was left behind; only containers, networks and volumes of Moorage are ever touched.

    Args:
        dry_run: Only say what would be done.
        volumes: Also remove the volumes of stacks whose directory is gone or that have expired: their data is lost.
        disk: What images built by Moorage may take on the engine's disk, such as `20GB`: those that nothing uses go,
            longest unused first. Empty: as `MOORAGE_SWEEP_DISK` says.
    """
    request = SweepRequest(dry_run=dry_run, volumes=volumes, disk=disk)
    return await carried_out(lambda context: _sweep(context, request))


async def _sweep(context: Context, request: SweepRequest) -> dict[str, Any]:
    found = await clear_away(context, request)
    limit_bytes = context.world.settings.hub_log_bytes
    found += await in_thread(lambda: log_files.swept(hub_home(), limit_bytes, dry_run=request.dry_run))
    if not request.dry_run:
        await in_thread(lambda: _tell_prefect(context.world))
    return {"findings": [one.model_dump(mode="json") for one in found], "flow_run_id": context.flow_run_id}


def _tell_prefect(world: World) -> None:
    """Flow runs of killed processes would be Running for ever; those too that an `up` has recovered meanwhile."""
    ended = (RunOutcome.RECOVERED, RunOutcome.RECOVERY_INCOMPLETE)
    recovered = [run for run in world.store.runs(None, _RUNS) if run.outcome in ended]
    if address := own_address():
        with suppress(HubError):  # the next sweep tries again
            set_to_crashed(address, [run.flow_run_id for run in recovered if run.flow_run_id])
