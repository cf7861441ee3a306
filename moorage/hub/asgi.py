"""What the hub's ASGI middlewares need: the headers of a request, and short answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

POLICY_VIOLATION = 1008
"""With this code a web socket is closed. One that was not accepted is answered 403."""


class Asked:
    """One request or web socket, as its headers describe it."""

    def __init__(self, scope: Scope) -> None:
        self.socket = scope["type"] == "websocket"
        self.method = "GET" if self.socket else str(scope["method"])
        self.path = str(scope["path"])
        self.query = bytes(scope.get("query_string", b"")).decode("latin-1")
        self._headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]

    def all(self, name: bytes) -> list[str]:
        """The values of a header, in order."""
        return [value for named, value in self._headers if named == name]

    def one(self, name: bytes) -> str:
        """The value of a header; empty if it is missing, or there several times: then none of them counts."""
        values = self.all(name)
        return values[0] if len(values) == 1 else ""

    def cookies(self, name: str) -> list[str]:
        """The values of a cookie. There may be several: other ports of this host can set it too."""
        pairs = (pair.strip().partition("=") for line in self.all(b"cookie") for pair in line.split(";"))
        return [value for named, _, value in pairs if named == name]

    @property
    def wants_page(self) -> bool:
        """True: a browser wants to show this to a person."""
        return self.method in ("GET", "HEAD") and "text/html" in self.one(b"accept")


async def answer(
    send: Send, status: int, body: str, kind: str = "text/plain", headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Send a whole answer, which nobody may keep."""
    fixed = [("content-type", f"{kind}; charset=utf-8"), ("cache-control", "no-store")]
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in [*fixed, *headers]]
    content = body.encode()
    encoded.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


async def answer_data(send: Send, status: int, **data: object) -> None:
    """Send a JSON object."""
    await answer(send, status, json.dumps(data), "application/json")


async def refuse_socket(send: Send, reason: str = "") -> None:
    """Close a web socket, before or after it was accepted."""
    await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})


async def content_of(receive: Receive, most: int) -> bytes | None:
    """The body of a request. None: it is longer than `most` bytes, or the client has gone."""
    content = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        content += bytes(message.get("body", b""))
        if len(content) > most:
            return None
        if not message.get("more_body"):
            return content
