"""Flow runs whose process was killed: Prefect believes that they run, for ever."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.hub import api
from moorage.hub.address import HubAddress

_OPEN = ("PENDING", "RUNNING", "CANCELLING")
_WORDS = "its process was killed; Moorage has recovered the stack"


def set_to_crashed(address: HubAddress, flow_run_ids: Sequence[str]) -> list[str]:
    """Set those to Crashed that are still open; gives their ids. Raises HubError."""
    if not flow_run_ids:
        return []
    wanted = {"id": {"any_": list(dict.fromkeys(flow_run_ids))}, "state": {"type": {"any_": list(_OPEN)}}}
    found = api.call(address, "POST", "/flow_runs/filter", {"flow_runs": wanted}) or []
    state = {"type": "CRASHED", "name": "Crashed", "message": _WORDS}
    for one in found:
        api.call(address, "POST", f"/flow_runs/{one['id']}/set_state", {"state": state, "force": True})
    return [str(one["id"]) for one in found]
