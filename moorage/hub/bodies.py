r"""What the hub is told has to be text that can be written down: half a character (`"\ud800"`) is refused.

JSON can spell one, and Prefect stores it; from then on it fails to answer whoever asks for a list with that in it: the
UI, and the worker that asks what to do next. One such body would end all runs.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from moorage.hub.asgi import Asked, answer_data

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_WRITING = ("POST", "PUT", "PATCH")
_MOST_BYTES = 64 << 20
"""Of one body. Prefect's own are smaller by far: the longest are logs, of which it sends a megabyte at a time."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_TEXT = 1007


class WholeCharacters:
    """ASGI middleware: answers 400 to bodies with half a character, 413 to endless ones, and ends such web sockets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request; or a web socket, whose messages are looked at one by one."""
        if scope["type"] == "websocket":
            await self._app(scope, _checked(receive, send), send)
        elif scope["type"] != "http" or Asked(scope).method not in _WRITING:
            await self._app(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun: list[Message] = []
        body = bytearray()
        while not begun or begun[-1].get("more_body"):
            begun.append(await receive())
            body += begun[-1].get("body", b"")
            if len(body) > _MOST_BYTES:
                await answer_data(send, 413, detail=f"A request may have {_MOST_BYTES >> 20} MiB.")
                return
        if has_half(bytes(body)):
            await answer_data(send, 400, detail="There is half a character (a lone surrogate) in this request.")
            return
        await self._app(scope, replayed(begun, receive), send)


def has_half(body: bytes) -> bool:
    """True: the JSON cannot be written down again. What is no JSON is for others to refuse."""
    try:
        body.decode()
    except UnicodeDecodeError:
        pass  # Python's JSON takes surrogates as bytes too
    else:
        if not _HALF.search(body):
            return False
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def replayed(begun: list[Message], receive: Receive) -> Receive:
    """`receive`, beginning with what was received already."""
    earlier = iter(begun)

    async def receiving() -> Message:
        return next(earlier, None) or await receive()

    return receiving


def _checked(receive: Receive, send: Send) -> Receive:
    async def receiving() -> Message:
        message = await receive()
        text = message.get("text") or ""
        if message["type"] == "websocket.receive" and has_half(text.encode(errors="surrogatepass")):
            await send({"type": "websocket.close", "code": _NOT_TEXT})
            return {"type": "websocket.disconnect", "code": _NOT_TEXT}
        return message

    return receiving
