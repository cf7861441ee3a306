"""What lets a server rest that has nothing to do: Prefect's own pace is one for many users at once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

TUNING = {
    # Defaults: a user's own setting wins. Seconds between two looks at what is seldom there.
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "30",
}
_NEW_WORK_S, _DUE_WORK_S = 5.0, 1.0
"""New work wakes its worker, which looks this often all the same. Work for a later time is late by up to a second."""


def calm_background_work() -> None:
    """Prefect's background services look for work seldom. Call this before the server starts.

    Prefect has no setting for it; its queue's worker has, and looks four times a second unless it is told.
    """
    from docket import Worker
    from prefect.server.api import background_workers

    calm = partial(
        Worker,
        minimum_check_interval=timedelta(seconds=_NEW_WORK_S),
        scheduling_resolution=timedelta(seconds=_DUE_WORK_S),
    )
    vars(background_workers)["Worker"] = calm
