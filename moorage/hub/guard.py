"""Guards the hub against web pages: of other sites, under other names, and around it.

CORS only prevents a foreign page from reading our answers, not from sending requests: Prefect treats a POST without a
content type as JSON, and browsers send such requests without a preflight. CORS does not cover web sockets either. So
requests that a browser sends on behalf of another page are refused here, by their `Origin`. A page whose own name
resolves to our address (DNS rebinding) is recognised by its `Host`. Programs send no `Origin`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from moorage.hub.asgi import Asked, answer, refuse_socket

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_HEADERS = (
    # A page that shows us in a frame could make people press our buttons.
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
)
_NO_FRAMES = (b"content-security-policy", b"frame-ancestors 'none'")
_REFUSED = "Requests from other pages are refused. MOORAGE_HUB_ORIGINS names more pages that may ask."
_ASK_AGAIN = (b"cache-control", b"no-cache")


class OriginGuard:
    """ASGI middleware: answers 403 to requests that a browser sends on behalf of a foreign web page.

    `origins` are the pages that may call us, such as `http://127.0.0.1:4200`. `hosts` are the host names under which we
    may be called, without port; None: any. No other page may show ours in a frame.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str], hosts: Iterable[str] | None) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request or web socket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._welcome(asked := Asked(scope)):
            await self._app(scope, receive, send if asked.socket else _unframed(send))
        elif asked.socket:
            await refuse_socket(send)
        else:
            await answer(
                _unframed(send),
                403,
                _REFUSED,
            )

    def _welcome(self, asked: Asked) -> bool:
        name = _name_in(asked.one(b"host"))
        if name is None or (self._hosts is not None and name not in self._hosts):
            return False
        return all(origin in self._origins or self._is_same(origin, asked) for origin in asked.all(b"origin"))

    def _is_same(self, origin: str, asked: Asked) -> bool:
        """True: the hub serves any name, and this page is of the one it is called by; to that its cookie belongs."""
        return self._hosts is None and urlsplit(origin).netloc.lower() == asked.one(b"host").lower()


def hosts_of(origins: Iterable[str]) -> frozenset[str]:
    """The host names of origins, without ports."""
    return frozenset(_host_of(origin) for origin in origins)


def _name_in(host: str) -> str | None:
    """The name in a `Host` header, in lower case. None: it is not of the form host[:port]."""
    found = _HOST.fullmatch(host)
    return found["name"].strip("[]").lower() if found else None


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _unframed(send: Send) -> Send:
    """`send`, with the headers that every answer of ours has."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_missing(message.get("headers", ()))]}
        await send(message)

    return sending


def _missing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower(): value for name, value in headers}
    wanted = [*_HEADERS]
    if b"frame-ancestors" not in there.get(_NO_FRAMES[0], b""):
        wanted.append(_NO_FRAMES)
    # A page from the browser's cache would hide that one has to come in again.
    if there.get(b"content-type", b"").startswith(b"text/html") and _ASK_AGAIN[0] not in there:
        wanted.append(_ASK_AGAIN)
    return wanted
