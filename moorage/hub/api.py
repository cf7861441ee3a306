"""The part of the Prefect REST API that the hub needs, with the standard library only."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import urllib.error
import urllib.request
import uuid
from functools import cache
from http.client import HTTPException
from typing import Any

from pydantic import Field

from moorage import bounded
from moorage.errors import HubError
from moorage.model.base import Frozen

_TIMEOUT_S = 60.0
"""Same as in Prefect's own client: the server may wait that long for its database."""
_MOST_BYTES = 64 << 20
"""Most that is read of an answer: a page of 200 flow runs has less than one MiB."""
_MOST_SAID = 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _BUSY = 401, 403, 404, 503
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Prefect answers 503 when two of its writes to SQLite collide."""
_NO_CSRF = (422,)
"""Answer of a server whose CSRF protection is switched off."""


class HubAddress(Frozen):
    """A Prefect API, and how to log in to it."""

    api_url: str
    ui_url: str
    auth: str | None = Field(default=None, repr=False)
    """`user:password`. None: the API needs no password."""
    managed: bool
    """True: the server is ours to start and stop."""

    @property
    def auth_digest(self) -> str:
        """Tells two secrets apart without telling either; empty: there is none."""
        return hashlib.sha256(f"{self.api_url} {self.auth}".encode()).hexdigest() if self.auth else ""


def answers(address: HubAddress, timeout_s: float) -> bool:
    """True if a Prefect API answers there and reports that it is healthy."""
    try:
        return bool(call(address, "GET", "/health", timeout_s=timeout_s))
    except HubError:
        return False


def call(
    address: HubAddress, method: str, path: str, body: object | None = None, *, timeout_s: float = _TIMEOUT_S
) -> Any:
    """Make one call and return the decoded answer; None if it is empty or the object is unknown. Raises HubError."""
    for pause_s in _PAUSES_S:
        try:
            return _guarded(address, method, path, body, timeout_s)
        except HubError as error:
            if error.fields.get("status") == _FORBIDDEN:
                _csrf_headers.cache_clear()  # the token has expired, or it was issued by another server
            elif error.fields.get("status") != _BUSY:
                raise
        time.sleep(pause_s)
    return _guarded(address, method, path, body, timeout_s)


def _guarded(address: HubAddress, method: str, path: str, body: object | None, timeout_s: float) -> Any:
    return _call(address, method, path, body, timeout_s, {} if method == "GET" else _csrf_headers(address))


def _call(
    address: HubAddress, method: str, path: str, body: object | None, timeout_s: float, headers: dict[str, str]
) -> Any:
    if not address.api_url.startswith(("http://", "https://")):
        raise HubError(f"{address.api_url!r} is not a valid http or https URL", api_url=address.api_url)
    request = urllib.request.Request(  # noqa: S310  # the scheme is checked above
        address.api_url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers=_headers(address) | headers,
        method=method,
    )
    try:
        with _opener(address).open(request, timeout=timeout_s) as answer:
            text = bounded.read_at_most(answer, _MOST_BYTES, "its answer", timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(address, error)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise HubError(f"{address.api_url} does not answer: {reason}", api_url=address.api_url) from error
    return _decoded(address, text)


@cache
def _csrf_headers(address: HubAddress) -> dict[str, str]:
    """Headers that every changing call must have, so that a foreign web page cannot make it."""
    client = str(uuid.uuid4())
    try:
        token = _call(address, "GET", f"/csrf-token?client={client}", None, _TIMEOUT_S, {})
    except HubError as error:
        if error.fields.get("status") in _NO_CSRF:
            return {}
        raise
    # An older server, or Prefect Cloud, does not know the page.
    return {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": client} if token else {}


def _headers(address: HubAddress) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    key = None if address.managed else os.environ.get("PREFECT_API_KEY")
    if address.auth:
        headers["Authorization"] = f"Basic {base64.b64encode(address.auth.encode()).decode()}"
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _opener(address: HubAddress) -> urllib.request.OpenerDirector:
    # Our own hub is on this machine, where a proxy named by the environment could not reach it.
    proxies = urllib.request.ProxyHandler({}) if address.managed else urllib.request.ProxyHandler()
    return urllib.request.build_opener(proxies)


def _refused(address: HubAddress, error: urllib.error.HTTPError) -> None:
    if error.code == _NOT_FOUND:
        return
    raise refusal(address, error.code, error.read(_MOST_SAID).decode(errors="replace")) from error


def refusal(address: HubAddress, status: int, said: str) -> HubError:
    """The error for a refused call; explains a wrong password."""
    hint = None
    if status == _UNAUTHORIZED:
        said, hint = "wrong or missing password", "Set PREFECT_API_AUTH_STRING or PREFECT_API_KEY."
        if address.managed:
            hint = "The hub's secret has changed meanwhile: try again."
    return HubError(f"{address.api_url} answered {status}: {said}", hint=hint, api_url=address.api_url, status=status)


def _decoded(address: HubAddress, text: bytes) -> Any:
    try:
        return bounded.parsed_json(text) if text.strip() else None
    except ValueError as error:
        raise HubError(f"{address.api_url} answers, but it is not a Prefect API", api_url=address.api_url) from error
