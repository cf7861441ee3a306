"""A flow run as its own process sees it: whether somebody cancels it, and what its body came to."""

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
    """What the body of a flow came to, told before Prefect has written it down: that may take long, or for ever."""

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None
        """None: the body returned `value`."""
        self._on_end = on_end

    def end(self, value: Any = None, error: Exception | None = None) -> None:
        """The body has ended."""
        self.value, self.error = value, error
        self.ended.set()
        self._on_end()


OUTCOME: ContextVar[Outcome | None] = ContextVar("OUTCOME", default=None)
"""Where the flow that this context runs tells its outcome. None: nobody asks."""


def own_address() -> HubAddress | None:
    """The API that the Prefect of this process speaks to. None: it has none."""
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    record = hub_home().server()
    if record and record.api_url == api_url:
        return address_of(record)
    auth = os.environ.get("PREFECT_API_AUTH_STRING") or None
    return HubAddress(api_url=api_url, ui_url="", auth=auth, managed=False) if api_url else None


def explained(error: Exception, address: HubAddress) -> MoorageError | None:
    """What Prefect's own error means: a wrong password, parameters that the flow refuses. None: something else."""
    from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError

    if isinstance(error, PrefectHTTPStatusError):
        return api.refusal(address, error.response.status_code, error.response.text[:500])
    if isinstance(error, ParameterTypeError):
        return DefinitionError(" ".join(str(error).split()), hint="`--help` says what it takes.")
    return None


def is_cancelled(address: HubAddress, flow_run_id: str) -> bool:
    """True: somebody cancels the flow run, or has set it to Cancelled. Raises HubError."""
    found = api.call(address, "GET", f"/flow_runs/{flow_run_id}", timeout_s=_TIMEOUT_S)
    return bool(found) and found.get("state_type") in _ASKING_TO_END
