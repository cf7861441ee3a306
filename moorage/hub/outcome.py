"""A flow run as seen by its own process: whether it is being cancelled, and the outcome of its body."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from moorage.errors import DefinitionError, MoorageError
from moorage.hub import api
from moorage.hub.address import address_of
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import hub_home

_ASKING_TO_END = ("CANCELLING", "CANCELLED")
_TIMEOUT_S = 5.0


class Outcome:
    """Outcome of a flow's body, known before Prefect has recorded it, which may take long or never end."""

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None
        """None: the body returned `value`."""
        self._on_end = on_end

    def end(self, value: Any = None, error: Exception | None = None) -> None:
        """Call when the body has ended."""
        self.value, self.error = value, error
        self.ended.set()
        self._on_end()


OUTCOME: ContextVar[Outcome | None] = ContextVar("OUTCOME", default=None)
"""Receives the outcome of the flow in this context. None: nobody needs it."""


def own_address() -> HubAddress | None:
    """The API that Prefect uses in this process. None: there is none."""
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    record = hub_home().server()
    if record and record.api_url == api_url:
        return address_of(record)
    auth = os.environ.get("PREFECT_API_AUTH_STRING") or None
    return HubAddress(api_url=api_url, ui_url="", auth=auth, managed=False) if api_url else None


def explained(error: Exception, address: HubAddress) -> MoorageError | None:
    """Translate Prefect's own error: a wrong password, parameters that the flow refuses. None: any other error."""
    from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError

    if isinstance(error, PrefectHTTPStatusError):
        return api.refusal(address, error.response.status_code, error.response.text[:500])
    if isinstance(error, ParameterTypeError):
        return DefinitionError(" ".join(str(error).split()), hint="`--help` lists the valid options.")
    return None


def is_cancelled(address: HubAddress, flow_run_id: str) -> bool:
    """True if the flow run is being cancelled, or was set to Cancelled. Raises HubError."""
    found = api.call(address, "GET", f"/flow_runs/{flow_run_id}", timeout_s=_TIMEOUT_S)
    return bool(found) and found.get("state_type") in _ASKING_TO_END
