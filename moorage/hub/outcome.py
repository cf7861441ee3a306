"""A flow run as seen by its own process: whether it is being cancelled, and the outcome of its body."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from moorage.adapters.patience import patient_s
from moorage.errors import DefinitionError, MoorageError
from moorage.hub import api
from moorage.hub.address import address_of, is_of
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import hub_home
from moorage.model.event import Event
from moorage.settings import Settings
from moorage.work.definitions.resolve import Resolved

_ASKING_TO_END = ("CANCELLING", "CANCELLED")
_TIMEOUT_S = 5.0


class Outcome:
    """Outcome of a flow's body, known before Prefect has recorded it, which may take long or never end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None
        """None: the body returned `value`."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when the body has ended."""

    def end(self, value: Any = None, error: Exception | None = None) -> None:
        """Call when the body has ended."""
        self.value, self.error = value, error
        self.ended.set()
        self.on_end()


@dataclass(frozen=True)
class Caller:
    """What the command hands to the flow that Prefect runs for it in this process, beside the flow's parameters.

    Those are plain data that Prefect stores; what has been read and who listens cannot be among them.
    """

    outcome: Outcome
    emit: Callable[[Event], None]
    """Where the events of the run go, besides the log and the artifacts."""
    settings: Settings | None = None
    """None: those of the process."""
    resolved: Resolved | None = None
    """The definition, where it has been read. None: the flow reads it."""
    building: AbstractAsyncContextManager[Any] | None = None
    """What its builds wait for. None: nothing."""
    is_flow: bool = False
    """It is a flow of this process, which looks after signals, and after whether it is cancelled."""


CALLER: ContextVar[Caller | None] = ContextVar("CALLER", default=None)
"""Who called the flow that runs in this context. None: a worker runs it."""


def own_address() -> HubAddress | None:
    """The API that Prefect uses in this process. None: there is none."""
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    record = hub_home().server()
    if record and is_of(record, api_url):
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
    found = api.call(address, "GET", f"/flow_runs/{flow_run_id}", timeout_s=patient_s(_TIMEOUT_S))
    return bool(found) and found.get("state_type") in _ASKING_TO_END
