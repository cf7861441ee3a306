"""The hub's door and the guard before it, around a small application that says who reached it."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.exceptions import StarletteDeprecationWarning
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

import moorage
from moorage.hub import entrance, worker
from moorage.hub.api import HubAddress
from moorage.hub.door import Door, Lock
from moorage.hub.guard import OriginGuard, hosts_of
from moorage.hub.hub_home import HubHome, ServerRecord, WorkerRecord
from moorage.hub.passes import COOKIE_S, LINK_S, Passes
from moorage.hub.process import ProcessRecord, children, identity, send
from moorage.hub.serve import behind_door

with warnings.catch_warnings():
    warnings.simplefilter("ignore", StarletteDeprecationWarning)  # it prefers httpx2, which Prefect does not bring
    from starlette.testclient import TestClient

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

HOME = "http://127.0.0.1:4200"
SECRET = "moorage:a-secret"
NAVIGATION = {"accept": "text/html,*/*", "sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
OWN_FETCH = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}


async def _reached(request: Request) -> PlainTextResponse | HTMLResponse:
    return HTMLResponse("<p>the UI") if request.url.path == "/" else PlainTextResponse(f"reached {request.url.path}")


async def _health(request: Request) -> JSONResponse:
    return JSONResponse(True)


async def _socket(socket: WebSocket) -> None:
    """As Prefect's: accepts, waits for the first message, answers."""
    await socket.accept(subprotocol="prefect")
    first = await socket.receive_json()
    await socket.send_json({"type": "auth_success", "heard": first["type"]})
    await socket.close()


def application() -> Starlette:
    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(
        routes=[
            Route("/api/health", _health),
            WebSocketRoute("/api/events/out", _socket),
            Route("/{path:path}", _reached, methods=every),
        ]
    )


@dataclass
class Hub:
    """A hub's door without a hub. `now` is its clock."""

    key: bytes = b"a key"
    chosen: bool = False
    now: list[float] = field(default_factory=lambda: [1_000_000.0])

    def __post_init__(self) -> None:
        self.passes = Passes(self.key, clock=lambda: self.now[0])
        door = Door(application(), Lock(SECRET, self.passes, HOME, chosen=self.chosen))
        origins = [HOME, "http://localhost:4200"]
        self.app = OriginGuard(door, origins, hosts_of(origins))

    def client(self, **headers: str) -> TestClient:
        return TestClient(self.app, base_url=HOME, headers=headers, follow_redirects=False)

    def entered(self, **headers: str) -> TestClient:
        """A browser that came in by a link."""
        browser = self.client(**headers)
        done = browser.post(
            "/moorage/enter", data={"token": self.passes.token(), "next": "/runs"}, headers={"origin": HOME}
        )
        assert (done.status_code, done.headers["location"]) == (303, "/runs")
        return browser


def basic(secret: str = SECRET) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


PLACES = ["/", "/ui-settings", "/assets/index.js", "/api/flows", "/api/csrf-token", "/api/docs", "/docs", "/v2/", "//"]
UNKNOWN = [
    {},
    basic("moorage:wrong"),
    basic("moorage:"),
    basic(""),
    {"authorization": "Basic"},
    {"authorization": "Basic !!"},
    {"authorization": f"Bearer {SECRET}"},
    {"authorization": f"Basic {SECRET}"},
    {"cookie": "moorage-0=1; moorage="},
    {"x-forwarded-for": "127.0.0.1", "x-original-url": "/api/health"},
]


@pytest.mark.parametrize("headers", UNKNOWN)
def test_nothing_is_served_without_the_secret(headers: dict[str, str]) -> None:
    client = Hub().client(**headers)
    for place in PLACES:
        for method in ("GET", "POST", "DELETE", "OPTIONS", "HEAD"):
            answer = client.request(method, f"{HOME}{place}")
            assert answer.status_code == 401, (method, place)
            assert "reached" not in answer.text
    assert client.get("/api/flows").json()["exception_message"].count("moorage hub open") == 1
    assert client.post("/api/moorage/tokens").status_code == 401
    assert client.get("/api/health").json() is True, "tells that somebody is there, no more"
    assert client.post("/api/health").status_code == 401


@pytest.mark.parametrize("path", ["/api/health/../flows", "/API/health", "/api/health/", "/api/flows%2f..%2fhealth"])
def test_what_only_looks_like_health_is_closed(path: str) -> None:
    assert Hub().client().get(path).status_code == 401


def test_a_program_with_the_secret_is_served() -> None:
    client = Hub().client(**basic())
    assert client.get("/api/flows").text == "reached /api/flows"
    assert client.post("/api/flows").status_code == 200


def test_a_person_sees_how_to_come_in() -> None:
    page = Hub().client(**NAVIGATION).get("/runs/flow-run/1")
    assert page.status_code == 401
    assert "<code>moorage hub open</code>" in page.text
    assert "password" not in page.text, "nobody has chosen one"
    assert page.headers["cache-control"] == "no-store"


def test_a_link_opens_once() -> None:
    hub = Hub()
    token = hub.passes.token()
    browser = hub.client(**NAVIGATION)
    shown = browser.get("/moorage/enter", params={"token": token})
    assert (shown.status_code, shown.headers["referrer-policy"]) == (200, "same-origin")
    assert "set-cookie" not in shown.headers, "a program that only looks does not use it up"
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', shown.text))
    entered = browser.post("/moorage/enter", data=form, headers={"origin": HOME})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    kept = entered.headers["set-cookie"].lower()
    for wanted in ("httponly", "samesite=strict", "path=/", f"max-age={COOKIE_S}"):
        assert wanted in kept
    assert browser.get("/").text == "<p>the UI"
    assert browser.get("/api/flows", headers=OWN_FETCH).text == "reached /api/flows"
    assert browser.post("/api/flows", headers=OWN_FETCH | {"origin": HOME}).status_code == 200
    again = hub.client(**NAVIGATION).post("/moorage/enter", data=form)
    assert again.status_code == 403
    assert "used already" in again.text
    assert "set-cookie" not in again.headers
    in_already = browser.post("/moorage/enter", data=form, headers={"origin": HOME})
    assert (in_already.status_code, "set-cookie" in in_already.headers) == (303, False), "its cookie lasts no longer"


def test_links_and_cookies_expire() -> None:
    hub = Hub()
    token, browser = hub.passes.token(), hub.entered()
    hub.now[0] += LINK_S
    assert hub.client().post("/moorage/enter", data={"token": token}).status_code == 403
    assert browser.get("/api/flows").status_code == 200
    hub.now[0] += COOKIE_S - LINK_S - 1
    assert browser.get("/api/flows").status_code == 200
    hub.now[0] += 1
    assert browser.get("/api/flows").status_code == 401


def test_a_cookie_of_another_hub_or_a_changed_one_opens_nothing() -> None:
    hub, other = Hub(), Hub(key=b"another key")
    (cookie,) = hub.entered().cookies.jar
    assert cookie.value
    until, _, rest = cookie.value.partition(".")
    for value in (f"{int(until) + 1}.{rest}", cookie.value[:-1], cookie.value.upper(), f".{cookie.value}", "..", ""):
        assert hub.client(cookie=f"{cookie.name}={value}").get("/api/flows").status_code == 401
    assert hub.client(cookie=f"a=b;  {cookie.name}={cookie.value}").get("/api/flows").status_code == 200
    for name in (cookie.name, other.passes.cookie_name):
        assert other.client(cookie=f"{name}={cookie.value}").get("/api/flows").status_code == 401


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 401),
        ("POST", {"sec-fetch-site": "same-site"}, 401),
        ("POST", {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-site"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("DELETE", {"sec-fetch-site": "cross-site"}, 401),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 401),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 401),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, 200),
    ],
)
def test_a_cookie_counts_only_for_what_our_own_pages_ask(method: str, headers: dict[str, str], status: int) -> None:
    """All ports of a host are one site: pages of other programs here make the browser send the cookie, too."""
    assert Hub().entered().request(method, "/api/flows", headers=headers).status_code == status


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "http://evil.example/", "/\\evil.example", "/a\r\nSet-Cookie: b=c", ""]
)
def test_the_door_leads_nowhere_else(wanted: str) -> None:
    hub = Hub()
    sent = {"token": hub.passes.token(), "next": wanted}
    assert hub.client().post("/moorage/enter", data=sent).headers["location"] == "/"


def test_a_password_that_somebody_chose_can_be_typed() -> None:
    hub = Hub(chosen=True)
    browser = hub.client(**NAVIGATION)
    assert 'name="password"' in browser.get("/runs?a=<b>").text
    user, _, password = SECRET.partition(":")
    wrong = browser.post("/moorage/enter", data={"user": user, "password": "x", "next": "/runs"})
    assert wrong.status_code == 403
    assert "Wrong user or password" in wrong.text
    typed = {"user": user, "password": password, "next": "/runs"}
    assert browser.post("/moorage/enter", data=typed).headers["location"] == "/runs"
    assert browser.get("/").status_code == 200
    assert Hub().client().post("/moorage/enter", data=typed).status_code == 403, "ours is not for typing"
    assert hub.client().post("/moorage/enter", data={"token": "x" * 5000}).status_code == 403


def test_the_ui_has_one_address() -> None:
    """The links to services begin with http://localhost: they must not be sent the hub's cookie."""
    client = TestClient(Hub().app, base_url="http://localhost:4200", follow_redirects=False)
    moved = client.get("/runs%0d%0aX-Bad: 1?a=b", headers=NAVIGATION)
    assert moved.headers["location"] == f"{HOME}/runs%0D%0AX-Bad%3A%201?a=b"
    assert client.get("/api/flows").status_code == 401


HOSTS = [
    "x@127.0.0.1:4200",
    "127.0.0.1:4200@evil.example",
    "evil.example",
    "127.0.0.1:x",
    "127.0.0.1/",
    " ",
    "[::1",
    "",
]


@pytest.mark.parametrize("host", [*HOSTS, "127.0.0.1:4200\t", "127.0.0.1:4200:1", "127.0.0.1.evil.example"])
def test_another_host_is_refused(host: str) -> None:
    for health in ("/api/health", "/"):
        assert Hub().client(**basic(), host=host).get(health).status_code == 403


def test_under_any_name_the_hubs_own_pages_may_ask() -> None:
    """With a password the hub serves the network, by whatever name people know the machine."""
    app = OriginGuard(application(), [HOME], None)
    client = TestClient(app, base_url="http://buildbox.lan:4200")
    for origin, status in (
        ("http://buildbox.lan:4200", 200),
        ("http://buildbox.lan", 403),
        ("http://evil.lan:4200", 403),
    ):
        assert client.post("/api/flows", headers={"origin": origin}).status_code == status


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_header_that_is_none_is_refused_even_if_any_name_will_do(host: str) -> None:
    if host != "evil.example":
        app = OriginGuard(application(), [HOME], None)
        assert TestClient(app, base_url=HOME, headers={"host": host}).get("/api/health").status_code == 403


def test_no_page_may_show_ours_in_a_frame() -> None:
    hub = Hub()
    browser = hub.entered()
    answers = [browser.get("/"), browser.get("/api/flows"), hub.client(**NAVIGATION).get("/"), hub.client().get("/x")]
    answers += [hub.client(host="evil.example").get("/"), hub.client().get("/moorage/enter?token=x")]
    for answer in answers:
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert browser.get("/").headers["cache-control"] == "no-cache", "who is out again must not see it"


# --- web sockets ---


def told(client: TestClient, first: Any, protocols: list[str] | None = None, **headers: str) -> Any:
    """What a web socket answers to a first message: a message, or the code with which it is closed."""
    wanted = ["prefect"] if protocols is None else protocols
    try:
        with client.websocket_connect(
            "ws://127.0.0.1:4200/api/events/out", subprotocols=wanted, headers=headers
        ) as socket:
            if isinstance(first, bytes):
                socket.send_bytes(first)
            else:
                socket.send_text(first if isinstance(first, str) else json.dumps(first))
            return socket.receive_json()
    except WebSocketDisconnect as closed:
        return closed.code


def test_web_sockets_need_the_secret_in_header_or_first_message() -> None:
    hub = Hub()
    welcome = {"type": "auth_success", "heard": "auth"}
    auth = {"type": "auth", "token": SECRET}
    assert told(hub.client(), auth) == welcome
    assert told(hub.client(), {"type": "auth", "token": None}, **basic()) == welcome
    assert told(hub.entered(), {"type": "auth", "token": None}, origin=HOME) == welcome
    refused: list[Any] = [{"type": "auth", "token": "no"}, {"type": "auth"}, {"type": "filter", "token": SECRET}, []]
    refused += [
        "",
        "{",
        "null",
        '{"type": "auth", "token": "\\ud800"}',
        "[" * 100_000,
        {"type": "auth", "token": [SECRET]},
        {"type": "auth", "token": SECRET, "more": "1," * 5000},
    ]
    for first in refused:
        assert told(hub.client(), first) == 1008, first
    assert told(hub.client(), auth, protocols=[]) == 1008
    assert told(hub.entered(), {"type": "auth"}) == 1008, "a cookie, but no page of ours"
    assert told(hub.entered(), auth, origin="http://evil.example") == 1008


def test_the_application_hears_nothing_before_the_secret() -> None:
    calls: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["type"])

    door = Door(app, Lock(SECRET, Passes(b"key"), HOME))
    assert told(TestClient(door, base_url=HOME), {"type": "auth", "token": "no"}) == 1008
    assert calls == []


# --- what it is made of ---


@pytest.fixture
def folder(tmp_path: Path) -> HubHome:
    return HubHome(tmp_path / "hub")


def record_of(auth: str, url: str = HOME) -> ServerRecord:
    nobody = ProcessRecord(pid=0, identity="", since=datetime.now(UTC))
    return ServerRecord(
        process=nobody,
        host="127.0.0.1",
        port=4200,
        api_url=f"{url}/api",
        ui_url=url,
        auth=auth,
        chosen=True,
        version="1",
    )


def test_the_secret_is_made_once_and_is_private(folder: HubHome) -> None:
    first = folder.secret()
    assert re.fullmatch(r"moorage:[\w-]{43}", first)
    assert folder.secret() == first
    assert (folder.path / "secret").stat().st_mode & 0o777 == 0o600
    folder.renew_secret()
    assert folder.secret() != first


@pytest.mark.parametrize("change", [lambda folder: folder.renew_secret(), None])
def test_a_new_secret_or_password_ends_all_cookies(folder: HubHome, change: Callable[[HubHome], None] | None) -> None:
    def client(auth: str) -> TestClient:
        return TestClient(behind_door(application(), folder, record_of(auth)), base_url=HOME)

    before = client("ada:first")
    typed = {"user": "ada", "password": "first"}
    assert before.post("/moorage/enter", data=typed, follow_redirects=False).status_code == 303
    (cookie,) = before.cookies.jar
    sent = {"cookie": f"{cookie.name}={cookie.value}"}
    assert client("ada:first").get("/api/flows", headers=sent).status_code == 200, "a restart changes nothing"
    if change:
        change(folder)
    changed = client("ada:first" if change else "ada:second")
    assert changed.get("/api/flows", headers=sent).status_code == 401


@pytest.mark.parametrize(
    ("digest", "running", "outdated"),
    [
        ("same", "", False),
        ("same", "sleep 60 &", False),
        ("", "sleep 60 &", True),
        (None, "", True),
        (None, "sleep 60 &", False),
    ],
)
def test_a_worker_without_the_secret_is_replaced(digest: str | None, running: str, outdated: bool) -> None:
    """One of an earlier version, which may have it or not, only when it has no runs."""
    address = HubAddress(api_url=f"{HOME}/api", ui_url=HOME, auth=SECRET, managed=True)
    told = address.auth_digest if digest == "same" else digest
    with subprocess.Popen(
        ["sh", "-c", f"{running} echo; read wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hand:
        assert hand.stdout
        hand.stdout.readline()
        one = ProcessRecord(pid=hand.pid, identity=identity(hand.pid) or "", since=datetime.now(UTC))
        record = WorkerRecord(process=one, api_url=address.api_url, auth_digest=told, version=moorage.__version__)
        assert worker._outdated(record, address) is outdated
        for child in (*children(one), one):
            send(child, signal.SIGKILL)


def test_the_link_is_not_on_the_command_line_of_the_browser(folder: HubHome) -> None:
    link = f"{HOME}/moorage/enter?token=abc"
    url = entrance.page_of(folder, link)
    file = Path(urlsplit(url).path)
    assert "abc" not in url
    assert f"url={link}" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
