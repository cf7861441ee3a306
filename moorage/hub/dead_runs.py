"""Flow runs whose process was killed: Prefect would show them as running for ever."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.adapters.patience import patient_s
from moorage.hub import api
from moorage.hub.api import HubAddress

_OPEN = ("PENDING", "RUNNING", "CANCELLING")
_PATIENCE_S = 5.0
"""Not longer, but on a busy machine: the stack is recovered even if Prefect cannot be told."""
_WORDS = "its process was killed; Moorage has recovered the stack"


def set_to_crashed(address: HubAddress, flow_run_ids: Sequence[str]) -> list[str]:
    """Set those that have not ended to Crashed; returns their ids. Raises HubError."""
    if not flow_run_ids:
        return []
    wanted = {"id": {"any_": list(dict.fromkeys(flow_run_ids))}, "state": {"type": {"any_": list(_OPEN)}}}
    found = (
        api.call(address, "POST", "/flow_runs/filter", {"flow_runs": wanted}, timeout_s=patient_s(_PATIENCE_S)) or []
    )
    state = {"type": "CRASHED", "name": "Crashed", "message": _WORDS}
    for one in found:
        body = {"state": state, "force": True}
        api.call(address, "POST", f"/flow_runs/{one['id']}/set_state", body, timeout_s=patient_s(_PATIENCE_S))
    return [str(one["id"]) for one in found]
