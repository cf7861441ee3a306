"""`python -m moorage.hub.worker_process --pool POOL --name NAME`: Prefect's process worker, and one thing more.

Where Prefect's worker decides what to start for a run, from what the API has stored of run, deployment and pool, ours
asks first whose flow it is. A flow of ours gets command, environment and directory from here; what run or deployment
say about them is refused, so that nobody takes it for done. Everybody else's flows are run as Prefect does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from moorage.adapters.files import private_folder
from moorage.adapters.locks.kernel import KernelLock
from moorage.hub import log_files, process, residence, results, template, told
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome, WorkerRecord
from moorage.hub.own_runs import Deployed, check_job_variables, own_entrypoint
from moorage.hub.worker import TEMPLATE, base_job_template, serves

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.workers.process import ProcessWorker

_DAY_S = 86_400
_ENTRYPOINT = "PREFECT__FLOW_ENTRYPOINT"
"""The process of a run loads the flow that this names, and looks neither at entry point nor pull steps of the API."""


def worker_class(warm: HubHome | None = None) -> type[ProcessWorker]:
    """The worker. Built when it is needed, because it imports Prefect. `warm`: whose template forks our runs."""
    from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

    class OwnConfiguration(ProcessJobConfiguration):
        """What is started for a run."""

        @classmethod
        async def resolve_for_flow_run(
            cls,
            flow_run: FlowRun,
            *,
            client: PrefectClient,
            work_pool: WorkPool,
            worker_name: str,
            worker_id: UUID | None = None,
            deployment: DeploymentResponse | None = None,
        ) -> Any:
            """As Prefect says for other people's flows. Raises DefinitionError: it must not be started."""
            if deployment is None and flow_run.deployment_id:
                deployment = await client.read_deployment(flow_run.deployment_id)
            entrypoint = await _own_entrypoint(client, flow_run, deployment, work_pool.name) if deployment else None
            if entrypoint is not None:
                work_pool = work_pool.model_copy(update={"base_job_template": base_job_template(TEMPLATE)})
            made = await super().resolve_for_flow_run(
                flow_run,
                client=client,
                work_pool=work_pool,
                worker_name=worker_name,
                worker_id=worker_id,
                deployment=deployment,
            )
            if entrypoint is not None:
                made.env[_ENTRYPOINT] = entrypoint
            if entrypoint is not None and warm:
                made.command = template.command(warm)
                await asyncio.to_thread(_ensure_template, warm)
            return made

    with warnings.catch_warnings():
        # Prefect remarks that there are two of the type now. Ours is the one that is used.
        warnings.filterwarnings("ignore", message=".* matches existing registered type")

        class OwnWorker(ProcessWorker):
            """Prefect's process worker, but for what it starts for our flows."""

            job_configuration = OwnConfiguration
            _asking: asyncio.Lock | None = None

            async def get_and_submit_flow_runs(self) -> list[FlowRun]:
                """One question at a time: it is asked every few seconds, and when the server has told of a run."""
                self._asking = self._asking or asyncio.Lock()
                async with self._asking:
                    return await super().get_and_submit_flow_runs()

    return OwnWorker


async def _own_entrypoint(
    client: PrefectClient, flow_run: FlowRun, deployment: DeploymentResponse, pool: str
) -> str | None:
    """Where the flow of ours is that this run is of. None: it is somebody else's. Raises DefinitionError."""
    deployed = Deployed(
        name=deployment.name,
        flow=(await client.read_flow(deployment.flow_id)).name,
        pool=pool,
        entrypoint=deployment.entrypoint,
        pull_steps=tuple(deployment.pull_steps or ()),
    )
    found = own_entrypoint(deployed)
    if found:
        check_job_variables(deployed, deployment.job_variables, flow_run.job_variables)
    return found


def _ensure_template(folder: HubHome) -> None:
    """For the next runs; where it cannot be had, they are started as Prefect does."""
    try:
        template.ensure(folder, os.environ)
    except OSError as error:
        sys.stderr.write(f"no template for runs: {error}\n")


async def _work(pool: str, name: str, warm: HubHome | None) -> None:
    from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS

    heartbeat_s = int(PREFECT_WORKER_HEARTBEAT_SECONDS.value())
    worker = worker_class(warm)(name=name, work_pool_name=pool, heartbeat_interval_seconds=heartbeat_s)
    listening = asyncio.create_task(told.ask_when_told(pool, worker.get_and_submit_flow_runs))
    try:
        await worker.start()
    finally:
        listening.cancel()


def _moved_in(folder: HubHome, log_bytes: int, keep_days: int) -> KernelLock:
    """The folder is this worker's: its record, its logs, and a place for runs that no other home or user has.

    Prefect keeps what it fetches for runs in `runner_storage` of the machine's folder for temporary files: whoever was
    first owns it, and the workers of others fail there.
    """
    lock = residence.move_in(folder.worker_lock)
    if lock is None:
        sys.exit(f"{folder.path}: another worker is running (pid {KernelLock(folder.worker_lock).holder()})")
    record = folder.worker()
    if record is None or not _is_for(record):
        sys.exit("the command that started this worker has given up")
    folder.save_worker(record.model_copy(update={"process": process.this_process()}))
    # The server that does so may be another's.
    log_files.keep_small(folder, log_bytes)
    results.keep_young(folder, keep_days)
    residence.leave_with(folder.worker_lock)
    private_folder(folder.runner_folder)
    _tidy(folder.runner_folder)
    tempfile.tempdir = str(folder.runner_folder)  # for this process, not for those that it starts
    return lock


def _is_for(record: WorkerRecord) -> bool:
    """False: a later command has written it, for another server, or for one with another secret."""
    url, auth = os.environ.get("PREFECT_API_URL", ""), os.environ.get("PREFECT_API_AUTH_STRING")
    mine = HubAddress(api_url=url, ui_url="", managed=True, auth=auth)
    return serves(record, mine) or (not record.auth_digest and record.api_url == url)


def _tidy(folder: Path) -> None:
    """What workers that were killed have left; a run of theirs may still be at what is of today."""
    for place in (folder, folder / "runner_storage"):
        for one in place.iterdir() if place.is_dir() else ():
            with suppress(OSError):
                if one.name != "runner_storage" and one.stat().st_mtime < time.time() - _DAY_S:
                    shutil.rmtree(one, ignore_errors=True)


def main() -> None:
    """Work until SIGTERM or SIGINT, as `prefect worker start` does."""
    parser = argparse.ArgumentParser(prog="python -m moorage.hub.worker_process")
    parser.add_argument("--pool", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--folder", required=True, type=Path, help="the hub's folder, whose worker this is")
    parser.add_argument("--log-bytes", required=True, type=int, help="size at which a log is rotated")
    parser.add_argument("--keep-days", type=int, default=0, help="age in days at which results go; 0: never")
    parser.add_argument("--warm", action="store_true", help="fork runs from a process that has Prefect imported")
    options = parser.parse_args()
    # Before Prefect is imported, which takes a while: the sooner it is known whose this is, the better.
    folder = HubHome(options.folder)
    lock = _moved_in(folder, options.log_bytes, options.keep_days)
    warm = folder if options.warm and not template.why_not(folder) else None
    if warm:
        _ensure_template(warm)

    from prefect.logging.configuration import setup_logging
    from prefect.plugins import load_prefect_collections
    from prefect.utilities.processutils import setup_signal_handlers_worker

    setup_logging()
    load_prefect_collections()
    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    try:
        asyncio.run(_work(options.pool, options.name, warm))
    finally:
        lock.release()


if __name__ == "__main__":
    main()
