"""The work pool, and the one worker that executes runs from the UI, schedules and `up --detach`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import moorage
from moorage.adapters.docker_context import variables
from moorage.adapters.patience import Patience
from moorage.errors import HubError
from moorage.hub import api, process, residence, template, told
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome, WorkerRecord
from moorage.hub.log_files import tail
from moorage.hub.project import project_directory, whole_environment
from moorage.settings import settings

_ONLINE_TIMEOUT_S = 60.0
_STOP_GRACE_S = 10.0
_POLL_S = 0.1
_LOG_LINES = 20
_PAGES = 20
"""Pages of 200 missed runs each: a week of `status` and `sweep`."""
_BY_SCHEDULE = "auto-scheduled"
"""Prefect's own tag for runs created by a schedule."""
_CLOCKS_APART = timedelta(seconds=2)
_TUNING = {
    "PREFECT_WORKER_QUERY_SECONDS": told.ASK_S,
    "PREFECT_WORKER_PREFETCH_SECONDS": told.BEFOREHAND_S,
    # Otherwise a run that is cancelled before its process is up starts anyway.
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
}
TEMPLATE: dict[str, Any] = {
    # Same as the process worker's own template; repeated here to create a pool without Prefect and without network.
    "job_configuration": {
        "command": "{{ command }}",
        "env": "{{ env }}",
        "labels": "{{ labels }}",
        "name": "{{ name }}",
        "stream_output": "{{ stream_output }}",
        "working_dir": "{{ working_dir }}",
    },
    "variables": {
        "type": "object",
        "properties": {
            "name": {"title": "Name", "anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "env": {"title": "Environment Variables", "type": "object", "additionalProperties": {"type": "string"}},
            "labels": {"title": "Labels", "type": "object", "additionalProperties": {"type": "string"}},
            "command": {
                "title": "Command",
                "description": "Starts a flow run. Setting it saves the worker a process and 5 seconds per run.",
                "anyOf": [{"type": "string"}, {"type": "null"}],
            },
            "stream_output": {"title": "Stream Output", "type": "boolean", "default": True},
            "working_dir": {
                "title": "Working Directory",
                "description": "The directory with flows/, tasks/ and blocks/.",
                "anyOf": [{"type": "string", "format": "path"}, {"type": "null"}],
            },
        },
    },
}
"""What a pool begins with. A run of our own flows is started by this, whatever has become of the pool's."""


def pool_name() -> str:
    """Name of this machine's work pool."""
    return settings().pool


def ensure_pool(address: HubAddress) -> None:
    """Create or update the work pool, with this machine's interpreter and project as defaults. Raises HubError."""
    pool = api.call(address, "GET", f"/work_pools/{pool_name()}")
    if pool is None:
        template = base_job_template(TEMPLATE)
        body = {
            "name": pool_name(),
            "type": "process",
            "base_job_template": template,
            "description": "Moorage's flows.",
        }
        api.call(address, "POST", "/work_pools/", body)
        return
    if not isinstance(pool, dict):
        raise HubError(f"{address.api_url} answers, but it is not a Prefect API", api_url=address.api_url)
    wanted = base_job_template(pool["base_job_template"])
    if wanted != pool["base_job_template"]:
        api.call(address, "PATCH", f"/work_pools/{pool_name()}", {"base_job_template": wanted})


def base_job_template(template: dict[str, Any]) -> dict[str, Any]:
    """The template with our defaults for command and working directory; everything else is unchanged."""
    ours = deepcopy(template)
    properties = ours.setdefault("variables", {}).setdefault("properties", {})
    properties.setdefault("command", {})["default"] = f"{shlex.quote(sys.executable)} -m prefect.engine"
    properties.setdefault("working_dir", {})["default"] = str(project_directory())
    return ours


def worker_name() -> str:
    """The worker's name in the UI: one per machine."""
    return f"moorage-{socket.gethostname()}"


def start(folder: HubHome, address: HubAddress, on_line: Callable[[str], None]) -> None:
    """Start the worker if it is not running (or runs for another server); returns when it is online.

    Call this with the hub's lock held. Raises HubError with the end of its log.
    """
    record = folder.worker()
    if record and process.alive(record.process):
        if not _outdated(record, address):
            return
        on_line("the worker is outdated; replacing it")
        stop(folder, _STOP_GRACE_S)
    elif record and record.process.pid:
        on_line(f"the worker (pid {record.process.pid}) has died; starting it again")
    _take_up_again(address, on_line)
    _until_on_duty(folder, address, _launch(folder, address, on_line), on_line)


def _take_up_again(address: HubAddress, on_line: Callable[[str], None]) -> None:
    """Reschedule runs that a worker had picked up but not begun when it ended: they would stay Pending for ever.

    If other machines' workers serve the same pool, the runs may be theirs, and are left alone.
    """
    if _others_on_duty(address):
        return
    wanted = {"work_pools": {"name": {"any_": [pool_name()]}}, "flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}
    for run in api.call(address, "POST", "/flow_runs/filter", wanted) or ():
        on_line(f"{run['name']} was about to begin when its worker ended; it is scheduled again")
        state = {"type": "SCHEDULED", "name": "Scheduled", "message": "its worker ended before it had begun"}
        api.call(address, "POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
    _drop_missed(address, on_line)


def _drop_missed(address: HubAddress, on_line: Callable[[str], None]) -> None:
    """Cancel all but the last of the identical scheduled runs that were missed while no worker was running."""
    late = {"state": {"type": {"any_": ["SCHEDULED"]}}, "tags": {"all_": [_BY_SCHEDULE]}}
    wanted = {
        "work_pools": {"name": {"any_": [pool_name()]}},
        "flow_runs": {**late, "expected_start_time": {"before_": datetime.now(UTC).isoformat()}},
        "sort": "EXPECTED_START_TIME_DESC",
    }
    dropped = 0
    for _ in range(_PAGES):
        missed = _all_but_newest(api.call(address, "POST", "/flow_runs/filter", wanted) or ())
        if not missed:
            break
        for run in missed:
            state = {"type": "CANCELLED", "message": "missed while no worker was running; a later run takes its place"}
            api.call(address, "POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        dropped += len(missed)
    if dropped:
        on_line(f"skipped {dropped} scheduled runs that were missed while no worker was running")


def _all_but_newest(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`runs` (newest first) without the newest of each deployment with the same parameters."""
    newest = {_asked(run): run["id"] for run in reversed(runs)}
    return [run for run in runs if newest[_asked(run)] != run["id"]]


def _asked(run: dict[str, Any]) -> tuple[str, str]:
    return run["deployment_id"], json.dumps(run["parameters"], sort_keys=True)


def _others_on_duty(address: HubAddress) -> bool:
    workers = api.call(address, "POST", f"/work_pools/{pool_name()}/workers/filter", {})
    return any(one["name"] != worker_name() and one["status"] == "ONLINE" for one in workers or ())


def stop(folder: HubHome, timeout_s: float) -> None:
    """Stop the worker that we started, if there is one; returns when it is gone.

    On SIGTERM a worker kills its flow runs at once. So the runs get SIGTERM first, and have `timeout_s` to undo their
    work, while the worker is still there to record how they ended.
    """
    record = folder.worker()
    if record:
        _end_flow_runs(record.process, timeout_s)
        left = process.children(record.process)
        process.end(record.process, _STOP_GRACE_S)
        for child in left:
            process.send(child, signal.SIGKILL)
    folder.forget_worker()
    residence.evict(folder.worker_lock, _STOP_GRACE_S)
    template.stop(folder, _STOP_GRACE_S)


def serves(record: WorkerRecord, address: HubAddress) -> bool:
    """True if the worker was started for this server, and knows its secret, as far as that is on record."""
    return record.api_url == address.api_url and record.auth_digest in (None, address.auth_digest)


def _outdated(record: WorkerRecord, address: HubAddress) -> bool:
    if not serves(record, address):
        return True
    # A worker with another version of our code is replaced only when it has no runs.
    other = record.version != moorage.__version__ or record.auth_digest is None
    return other and not process.children(record.process)


def _launch(folder: HubHome, address: HubAddress, on_line: Callable[[str], None]) -> WorkerRecord:
    on_line(f"starting the worker {worker_name()}")
    command = [sys.executable, "-m", "moorage.hub.worker_process"]
    command += ["--pool", pool_name(), "--name", worker_name()]
    command += ["--folder", str(folder.path), "--log-bytes", str(settings().hub_log_bytes)]
    command += ["--keep-days", str(settings().hub_keep_days)]
    command += ["--warm"] if settings().hub_warm_runs else []
    residence.evict(folder.worker_lock, _STOP_GRACE_S)  # its record was lost
    record = WorkerRecord(
        process=process.NOBODY,
        api_url=address.api_url,
        auth_digest=address.auth_digest,
        version=moorage.__version__,
        engine=variables(),
    )
    folder.save_worker(record)  # before the worker, which adds itself: see moorage.hub.worker_process
    started = process.spawn(
        command, environment=_environment(address), folder=project_directory(), log=folder.worker_log, umask=0o077
    )
    return record.model_copy(update={"process": started})


def _environment(address: HubAddress) -> dict[str, str]:
    tuning = {key: os.environ.get(key, value) for key, value in _TUNING.items()}
    return whole_environment(address) | tuning


def _until_on_duty(folder: HubHome, address: HubAddress, record: WorkerRecord, on_line: Callable[[str], None]) -> None:
    patience = Patience("the worker has not come online", _ONLINE_TIMEOUT_S, on_line)
    while patience.lasts():
        if not process.alive(record.process):
            found = folder.worker()
            if found is None or not process.alive(found.process):
                break
            record = found  # one that a killed command had started was there first
        if _entered(folder, record) and _on_duty(address, record):
            return
        time.sleep(_POLL_S)
    log = "\n".join(tail(folder.worker_log, _LOG_LINES))
    if process.alive(record.process):
        what, hint = f"did not come online within {patience.waited_s():.0f} s", "Run `moorage hub start` again."
    else:
        what, hint = "ended before it came online", None
    raise HubError(f"the worker (pid {record.process.pid}) {what}\n{log}", hint=hint, log=log)


def _entered(folder: HubHome, record: WorkerRecord) -> bool:
    """False: what the server has heard of may be a worker that has been killed since."""
    found = folder.worker()
    return found is not None and found.process.pid == record.process.pid


def _on_duty(address: HubAddress, record: WorkerRecord) -> bool:
    workers = api.call(address, "POST", f"/work_pools/{pool_name()}/workers/filter", {})
    mine = [worker for worker in workers or () if worker["name"] == worker_name()]
    return any(_last_seen(worker) > record.process.since - _CLOCKS_APART for worker in mine)


def _last_seen(worker: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(worker["last_heartbeat_time"])


def _end_flow_runs(worker: process.ProcessRecord, timeout_s: float) -> None:
    asked: set[int] = set()
    deadline = time.monotonic() + timeout_s
    while (running := process.children(worker)) and time.monotonic() < deadline:
        for child in running:
            if child.pid not in asked:  # only once: a second SIGTERM would interrupt the undo
                process.send(child, signal.SIGTERM)
                asked.add(child.pid)
        time.sleep(_POLL_S)
