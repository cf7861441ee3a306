"""Flow runs over REST, without importing Prefect: submit one to the worker, list, wait, cancel."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from moorage.errors import DefinitionError, HubError
from moorage.hub import api
from moorage.hub.address import flow_run_url, required
from moorage.hub.api import HubAddress
from moorage.hub.prefect_file import deployment_of
from moorage.hub.project import flow_names
from moorage.model.base import Frozen
from moorage.settings import settings

ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_POLL_S = 0.3
_LOOKED_AT = 200
"""Number of recent runs searched for the first characters of an id; Prefect returns no more at once."""


class FlowRun(Frozen):
    """A flow run on the hub: a line of `moorage runs`."""

    id: str
    name: str
    """`up shop`."""
    type: str
    """SCHEDULED, PENDING, RUNNING, PAUSED, CANCELLING, COMPLETED, FAILED, CRASHED, CANCELLED."""
    state: str
    """Prefect's name for the state, which is more precise: Late, Retrying."""
    message: str
    progress: float | None = None
    """Percent. None: not known."""
    doing: str = ""
    created_at: datetime
    started_at: datetime | None = None
    """None: it has not begun."""
    ended_at: datetime | None = None
    duration_s: float | None = None
    """So far, or in total. None: it has not begun."""
    url: str

    @property
    def ended(self) -> bool:
        """True if the run has ended."""
        return self.type in ENDED


def address() -> HubAddress:
    """The API that answers. Raises HubError."""
    return required()


def submit(where: HubAddress, flow: str, parameters: dict[str, Any], about: str) -> FlowRun:
    """Submit a run named `FLOW ABOUT` to the worker; returns at once. Raises HubError, DefinitionError."""
    name = deployment_of(flow, settings().pool)
    deployment = api.call(where, "GET", f"/deployments/name/{flow}/{name}")
    if deployment is None:
        raise HubError(f"{where.api_url} has no deployment {flow}/{name}", hint="`moorage hub start` creates it.")
    given = {key: value for key, value in parameters.items() if value is not None}
    body = {"name": f"{flow} {about}", "parameters": given, "state": {"type": "SCHEDULED"}}
    try:
        made = api.call(where, "POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    except HubError as error:
        if error.fields.get("status") == 409:
            raise DefinitionError(str(error), hint="The deployment does not accept these parameters.") from None
        raise
    return _flow_run(where, made, {})


def last(where: HubAddress, limit: int, name_part: str = "") -> list[FlowRun]:
    """The latest runs of our flows, newest first; only those whose name contains `name_part`. Raises HubError."""
    now = datetime.now(UTC).isoformat()  # runs that are scheduled for later do not count yet
    named = {"name": {"like_": name_part}} if name_part else {}
    wanted: dict[str, Any] = {
        "flow_runs": {"expected_start_time": {"before_": now}, **named},
        "flows": {"name": {"any_": flow_names()}},
        "limit": min(limit, _LOOKED_AT),
        "sort": "EXPECTED_START_TIME_DESC",
    }
    return _with_progress(where, api.call(where, "POST", "/flow_runs/filter", wanted) or [])


def one(where: HubAddress, run: str) -> FlowRun:
    """A run by its id, or by the id's first characters. Raises HubError, DefinitionError."""
    found = api.call(where, "GET", f"/flow_runs/{run}") if is_id(run) else None
    if found:
        return _with_progress(where, [found])[0]
    alike = [each for each in last(where, _LOOKED_AT) if run and each.id.startswith(run.lower())]
    if len(alike) != 1:
        what = "no run" if not alike else f"{len(alike)} runs"
        raise DefinitionError(f"there is {what} {run!r}", hint="`moorage runs` lists them.")
    return alike[0]


def is_id(text: str) -> bool:
    """True if the text is a complete run id."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def until_ended(
    where: HubAddress, run: FlowRun, timeout_s: float, on_change: Callable[[FlowRun], None] = lambda _: None
) -> FlowRun:
    """Poll until the run has ended or the time is over; returns its state then. Raises HubError."""
    deadline = time.monotonic() + timeout_s
    while not run.ended and time.monotonic() < deadline:
        on_change(run)
        time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))
        run = one(where, run.id)
    return run


def cancel(where: HubAddress, run: FlowRun) -> None:
    """Cancel a run, like the UI: it undoes its work. Raises HubError, DefinitionError if it has already ended."""
    if run.ended:
        raise DefinitionError(f"run {run.id} has already ended: {run.state}", hint="`moorage runs` lists all runs.")
    state = {"type": "CANCELLING", "name": "Cancelling", "message": "`moorage cancel`"}
    api.call(where, "POST", f"/flow_runs/{run.id}/set_state", {"state": state})


def _with_progress(where: HubAddress, found: Sequence[dict[str, Any]]) -> list[FlowRun]:
    ids = [each["id"] for each in found]
    body = {"artifacts": {"flow_run_id": {"any_": ids}, "type": {"any_": ["progress"]}}}
    artifacts = api.call(where, "POST", "/artifacts/filter", body) if ids else []
    return [_flow_run(where, each, {one["flow_run_id"]: one for one in artifacts or ()}) for each in found]


def _flow_run(where: HubAddress, found: dict[str, Any], progress: dict[str, dict[str, Any]]) -> FlowRun:
    state = found.get("state") or {}
    told = progress.get(found["id"], {})
    started = _time(found.get("start_time"))
    ended = _time(found.get("end_time"))
    until = ended or datetime.now(UTC)
    return FlowRun(
        id=found["id"],
        name=found["name"],
        type=state.get("type") or "SCHEDULED",
        state=state.get("name") or "Scheduled",
        message=state.get("message") or "",
        progress=told.get("data"),
        doing=told.get("description") or "",
        created_at=_time(found["created"]) or until,
        started_at=started,
        ended_at=ended,
        duration_s=round(max(0.0, (until - started).total_seconds()), 3) if started else None,
        url=flow_run_url(where, found["id"]),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
