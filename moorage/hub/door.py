"""The hub's door: every request and web socket needs the hub's secret, or the cookie that a browser got for a link.

It stands around Prefect's whole application, static files included, so that nothing of it is reached without. Programs
send the secret as Prefect's clients do: in the header `Authorization: Basic`, or in the first message of a web socket.
Browsers come in by a link with a token that is good for once, and get a cookie for it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from moorage.hub import door_page
from moorage.hub.asgi import Asked, answer, answer_data, content_of, refuse_socket
from moorage.hub.bodies import replayed
from moorage.hub.passes import COOKIE_S, ENTER, TOKENS, Passes, same

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPEN = ("/api/health", "/api/ready")
"""They tell that a server is there, and nothing else."""
_READING = ("GET", "HEAD")
_LONGEST_FORM = 65_536
_LONGEST_MESSAGE = 4096
"""Of what nobody vouches for yet, no more is parsed."""
_FIRST_MESSAGE_S = 30.0
_UNAUTHORIZED = (
    "This hub needs its secret. Its user gets it with `moorage hub env`, or opens the UI with `moorage hub open`."
)
_USED_UP = "This link was used already, or has expired."
_WRONG = "Wrong user or password."


@dataclass(frozen=True)
class Lock:
    """What opens the door. `chosen`: somebody has chosen the secret, so it can be typed as user and password."""

    secret: str
    """`user:password`."""
    passes: Passes
    home: str
    """The address under which browsers know the UI, such as `http://127.0.0.1:4200`."""
    chosen: bool = False


class Door:
    """ASGI middleware: lets in whoever has the hub's secret or cookie. Put it behind an `OriginGuard`."""

    def __init__(self, app: ASGIApp, lock: Lock) -> None:
        self._app = app
        self._lock = lock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or web socket, or say how to come in."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        asked = Asked(scope)
        if asked.socket:
            await self._socket(asked, scope, receive, send)
        elif asked.path == ENTER:
            await self._entrance(asked, receive, send)
        elif (asked.method, asked.path) == ("POST", f"/api{TOKENS}") and self._knows_secret(asked):
            await answer_data(send, 201, token=self._lock.passes.token())
        elif self._may_pass(asked) or _is_open(asked):
            await self._app(scope, receive, send)
        else:
            await self._refuse(asked, send)

    # --- who may pass ---

    def _may_pass(self, asked: Asked) -> bool:
        return self._knows_secret(asked) or self._has_cookie(asked)

    def _knows_secret(self, asked: Asked) -> bool:
        scheme, _, given = asked.one(b"authorization").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, ValueError):
            return False
        return same(decoded, self._lock.secret)

    def _has_cookie(self, asked: Asked) -> bool:
        passes = self._lock.passes
        return _by_our_page(asked) and any(map(passes.lets_in, asked.cookies(passes.cookie_name)))

    # --- the way in ---

    async def _entrance(self, asked: Asked, receive: Receive, send: Send) -> None:
        if asked.method in _READING:
            given = parse_qs(asked.query)
            if "token" in given:
                await _show(send, 200, door_page.way_in(given["token"][0], _own_path(given)))
            else:
                await self._closed(send, 401, _own_path(given))
            return
        content = await content_of(receive, _LONGEST_FORM) if asked.method == "POST" else None
        given = parse_qs((content or b"").decode(errors="replace"))
        inside = [("location", _own_path(given))]
        if self._opens(given):
            await answer(send, 303, "", headers=[*inside, ("set-cookie", self._cookie())])
        elif self._has_cookie(asked):  # it is not made to last longer
            await answer(send, 303, "", headers=inside)
        else:
            await self._closed(send, 403, _own_path(given), _USED_UP if "token" in given else _WRONG)

    def _opens(self, given: dict[str, list[str]]) -> bool:
        if "token" in given:
            return self._lock.passes.redeem(given["token"][0])
        typed = ":".join(given.get(name, [""])[0] for name in ("user", "password"))
        return self._lock.chosen and same(typed, self._lock.secret)

    def _cookie(self) -> str:
        passes = self._lock.passes
        secure = "; Secure" if self._lock.home.startswith("https:") else ""
        return f"{passes.cookie_name}={passes.cookie()}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict{secure}"

    # --- refusing ---

    async def _refuse(self, asked: Asked, send: Send) -> None:
        here = quote(asked.path) + (f"?{asked.query}" if asked.query else "")
        if not asked.wants_page:
            await answer_data(send, 401, exception_message=_UNAUTHORIZED)
        elif moved := self._at_home(asked):
            await answer(send, 307, "", headers=[("location", moved + here)])
        else:
            await self._closed(send, 401, here)

    def _at_home(self, asked: Asked) -> str | None:
        """Our own address, if this is `localhost` and the cookie belongs to 127.0.0.1. None: it does not."""
        home = urlsplit(self._lock.home)
        elsewhere = asked.one(b"host") == f"localhost:{home.port}" and home.hostname == "127.0.0.1"
        return self._lock.home if elsewhere else None

    async def _closed(self, send: Send, status: int, wanted: str, said: str = "") -> None:
        await _show(send, status, door_page.closed(wanted, said, password=self._lock.chosen))

    # --- web sockets ---

    async def _socket(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Prefect's clients send the secret in the first message: the application sees none before that."""
        if self._may_pass(asked):
            await self._app(scope, receive, send)
        elif "prefect" not in scope.get("subprotocols", ()):
            await refuse_socket(send)
        else:
            begun = [await receive()]
            await send({"type": "websocket.accept", "subprotocol": "prefect"})
            try:
                async with asyncio.timeout(_FIRST_MESSAGE_S):
                    begun.append(await receive())
            except TimeoutError:
                await refuse_socket(send, _UNAUTHORIZED)
                return
            if self._authenticates(begun[1]):
                await self._app(scope, replayed(begun, receive), _accepted_already(send))
            elif begun[1]["type"] == "websocket.receive":
                await refuse_socket(send, _UNAUTHORIZED)

    def _authenticates(self, message: Message) -> bool:
        text = message.get("text") or ""
        if len(text) > _LONGEST_MESSAGE:
            return False
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(said, dict) or said.get("type") != "auth":
            return False
        return same(str(said.get("token")), self._lock.secret)


def _by_our_page(asked: Asked) -> bool:
    """True unless a page of another site, or of another port, makes the browser send this request.

    The cookie alone does not show it: for cookies all ports of a host are one site.
    """
    site = asked.one(b"sec-fetch-site")
    if asked.socket or asked.method not in _READING:
        return bool(asked.all(b"origin")) or site == "same-origin"  # an `Origin` is one of ours: see OriginGuard
    return site in ("", "none", "same-origin") or asked.one(b"sec-fetch-mode") == "navigate"


def _is_open(asked: Asked) -> bool:
    """True for health, and for what browsers ask before they send a request of a page of another origin."""
    asks_first = asked.method == "OPTIONS" and asked.all(b"origin") and asked.all(b"access-control-request-method")
    return bool(asks_first) or (asked.path in _OPEN and asked.method in _READING)


def _own_path(given: dict[str, list[str]]) -> str:
    """Where to go after the door: a path of ours, never another site's."""
    wanted = given.get("next", ["/"])[0]
    plain = wanted.isascii() and wanted.isprintable() and wanted.startswith("/")
    return wanted if plain and not wanted.startswith("//") and "\\" not in wanted else "/"


async def _show(send: Send, status: int, page: str) -> None:
    await answer(send, status, page, "text/html", door_page.HEADERS)


def _accepted_already(send: Send) -> Send:
    """`send` without the acceptance, which was sent already."""

    async def sending(message: Message) -> None:
        if message["type"] != "websocket.accept":
            await send(message)

    return sending
