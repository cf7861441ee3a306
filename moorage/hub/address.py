"""Where the Prefect API is: somebody's server, or the hub that we run. Imports no Prefect: reads must be fast."""

from __future__ import annotations

import os

from moorage.errors import HubError
from moorage.hub import api
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import ServerRecord, hub_home
from moorage.hub.process import alive
from moorage.settings import settings

_HEALTH_TIMEOUT_S = 1.0
_FOREIGN_TIMEOUT_S = 5.0
"""Somebody else's server may be on the other side of the world."""


def find() -> HubAddress | None:
    """The Prefect API to use: MOORAGE_API_URL, PREFECT_API_URL, else our own hub. None: our own does not run.

    A URL of the environment that is our own hub's counts as our own hub. Raises HubError if a server that the
    environment names does not answer: it is not ours to start.
    """
    wanted = wanted_url()
    record = hub_home().server()
    if wanted and not (record and record.api_url == wanted):
        return _foreign(wanted)
    if record and alive(record.process) and api.answers(address_of(record), _HEALTH_TIMEOUT_S):
        return address_of(record)
    return None


def wanted_url() -> str | None:
    """The API that the environment names. None: none, so it is our own hub."""
    return (settings().api_url or os.environ.get("PREFECT_API_URL") or "").rstrip("/") or None


def address_of(record: ServerRecord) -> HubAddress:
    """The address of a server that we started."""
    return HubAddress(api_url=record.api_url, ui_url=record.ui_url, auth=record.auth, managed=True)


def flow_run_url(address: HubAddress, flow_run_id: object) -> str:
    """The page of a flow run in the UI."""
    return f"{address.ui_url}/runs/flow-run/{flow_run_id}"


def _foreign(api_url: str) -> HubAddress:
    address = HubAddress(
        api_url=api_url,
        ui_url=(os.environ.get("PREFECT_UI_URL") or api_url.removesuffix("/api")).rstrip("/"),
        auth=os.environ.get("PREFECT_API_AUTH_STRING") or None,
        managed=False,
    )
    if not api.answers(address, _FOREIGN_TIMEOUT_S):
        variable = "MOORAGE_API_URL" if settings().api_url else "PREFECT_API_URL"
        raise HubError(
            f"the Prefect API at {api_url}, named by {variable}, does not answer",
            hint=f"Start that server, or unset {variable} to use the hub of `moorage hub start`.",
            api_url=api_url,
        )
    return address
