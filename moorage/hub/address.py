"""Address of the Prefect API: an existing server, or our own hub. Does not import Prefect, so that reads are fast."""

from __future__ import annotations

import ipaddress
import os

from moorage.adapters.patience import patient_s
from moorage.errors import HubError
from moorage.hub import api
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import ServerRecord, hub_home
from moorage.hub.process import alive
from moorage.settings import settings

_HEALTH_TIMEOUT_S = 10.0
"""For a server whose process lives, longer on a busy machine. One that is gone refuses at once."""
_FOREIGN_TIMEOUT_S = 5.0
"""A server that is not ours may be on the other side of the world."""


def find() -> HubAddress | None:
    """The Prefect API to use: MOORAGE_API_URL, PREFECT_API_URL, else our own hub. None: our own is not running.

    If the environment names our own hub's URL, that counts as our own hub. Raises HubError if another server named by
    the environment does not answer: we cannot start it.
    """
    wanted = wanted_url()
    record = hub_home().server()
    if wanted and not (record and is_of(record, wanted)):
        return _foreign(wanted)
    if record and alive(record.process) and api.answers(address_of(record), patient_s(_HEALTH_TIMEOUT_S)):
        return address_of(record)
    return None


def required() -> HubAddress:
    """The Prefect API to use. Raises HubError if none answers, with what our own hub is doing."""
    found = find()
    if found:
        return found
    if busy := silent():
        raise HubError(busy, hint="It may be busy: try again; else `moorage hub stop`, then `moorage hub start`.")
    raise HubError("the hub is not running", hint="Start it with `moorage hub start`.")


def silent() -> str:
    """Words for a hub of ours that runs, and that `find` did not find. Empty: it does not run."""
    record = hub_home().server()
    if wanted_url() or record is None or not alive(record.process):
        return ""
    return f"the hub runs (pid {record.process.pid}), but does not answer within {patient_s(_HEALTH_TIMEOUT_S):.3g} s"


def wanted_url() -> str | None:
    """The API that the environment names. None: it names none, so our own hub is used."""
    return (settings().api_url or os.environ.get("PREFECT_API_URL") or "").rstrip("/") or None


def address_of(record: ServerRecord) -> HubAddress:
    """The address of a server that we started."""
    return HubAddress(api_url=record.api_url, ui_url=record.ui_url, auth=record.auth, managed=True)


def is_of(record: ServerRecord, api_url: str) -> bool:
    """True if a URL is one of those under which this machine reaches a server that we started."""
    bases = (record.ui_url, *(f"http://{name}:{record.port}" for name in local_names(record.host)))
    return api_url in (record.api_url, *(f"{base}/api" for base in bases))


def flow_run_url(address: HubAddress, flow_run_id: object) -> str:
    """URL of a flow run in the UI."""
    return f"{address.ui_url}/runs/flow-run/{flow_run_id}"


def _foreign(api_url: str) -> HubAddress:
    address = HubAddress(
        api_url=api_url,
        ui_url=(os.environ.get("PREFECT_UI_URL") or api_url.removesuffix("/api")).rstrip("/"),
        auth=os.environ.get("PREFECT_API_AUTH_STRING") or None,
        managed=False,
    )
    if not api.answers(address, patient_s(_FOREIGN_TIMEOUT_S)):
        variable = "MOORAGE_API_URL" if settings().api_url else "PREFECT_API_URL"
        raise HubError(
            f"the Prefect API at {api_url}, named by {variable}, does not answer",
            hint=f"Start that server, or unset {variable} to use the hub of `moorage hub start`.",
            api_url=api_url,
        )
    return address


def is_loopback(host: str) -> bool:
    """True if only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_everywhere(host: str) -> bool:
    """True if a server that listens there is reached under every address of this machine."""
    return host in {"0.0.0.0", "::"}  # noqa: S104  # compared, not bound


def local_names(host: str) -> tuple[str, ...]:
    """Names under which this machine may reach a server that listens on `host`, besides `host` itself."""
    return ("127.0.0.1", "localhost") if is_loopback(host) or is_everywhere(host) else ()
