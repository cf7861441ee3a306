"""The hub's door in a real Chromium: the link, the cookie, and pages that want to use it."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect

from moorage.hub import api
from moorage.hub.asgi import answer
from moorage.hub.door import Door, Lock
from moorage.hub.guard import OriginGuard
from moorage.hub.passes import COOKIE_S, ENTER, Passes
from tests.e2e.conftest import FOREIGN, come_in, load, person, picture
from tests.orchestrated.conftest import hub

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CLOSED = "This hub serves only the user who started it."


def link_of_start() -> str:
    return str(json.loads(hub("start", "--json").stdout)["open_url"])


def of_the_door(context: BrowserContext) -> list[Any]:
    """Its cookies, without those of Prefect's UI."""
    return [cookie for cookie in context.cookies() if cookie["name"].startswith("moorage-")]


def show(page: Page, url: str, text: str) -> None:
    """Go to a page that says this."""
    load(page, url, lambda: expect(page.get_by_text(text).first).to_be_visible())


def test_the_link_of_hub_start_opens_the_ui_once(hub_address: HubAddress, browser: Browser) -> None:
    me, other = person(browser), person(browser)
    page, port = me.new_page(), hub_address.ui_url.rpartition(":")[2]
    link = come_in(page, link_of_start)
    show(page, hub_address.ui_url, "Flow Runs")
    picture(page, "10-come-in")
    (cookie,) = of_the_door(me)
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert cookie["name"] not in page.evaluate("document.cookie")
    show(page, f"http://localhost:{port}/deployments", "Deployments")
    page.wait_for_url(f"{hub_address.ui_url}/deployments")  # the cookie belongs to this address only
    page = other.new_page()
    show(page, link, "This link was used already, or has expired.")
    picture(page, "11-used-link")
    show(page, f"{hub_address.ui_url}/runs", CLOSED)
    assert of_the_door(other) == []
    me.close()
    other.close()


def test_a_link_on_a_foreign_page_works_too(hub_address: HubAddress, browser: Browser) -> None:
    """From a chat or a mail in the browser: a cookie that is Strict is not sent along with the click itself."""
    me = person(browser)
    page = me.new_page()
    with foreign_pages(f"<a href='{link_of_start()}'>the hub</a>") as port:
        show(page, f"http://{FOREIGN}:{port}/", "the hub")
        page.get_by_text("the hub").click()
        page.wait_for_url(lambda url: ENTER not in url and url.startswith(hub_address.ui_url), wait_until="commit")
        assert page.title() != "Moorage", "the door"
    me.close()


TRIES = """async ([base, name]) => {
    const post = {method: "POST", credentials: "include", body: JSON.stringify({name, value: 1})}
    const send = (path, how) => fetch(base + path, how).then((a) => `${a.type} ${a.status}`, () => "refused")
    const socket = new Promise((done) => {
        const one = new WebSocket(base.replace("http", "ws") + "/api/events/out", "prefect")
        one.onopen = () => done("open")
        one.onerror = () => done("refused")
    })
    const script = new Promise((done) => {
        const one = document.createElement("script")
        one.src = base + "/api/variables/count"
        one.onload = () => done("loaded")
        one.onerror = () => done("refused")
        document.head.append(one)
    })
    return {
        simple: await send("/api/variables/", {...post, mode: "no-cors"}),
        json: await send("/api/variables/", {...post, headers: {"content-type": "application/json"}}),
        read: await send("/api/admin/settings", {credentials: "include"}),
        secrets: await send("/api/block_documents/filter", {...post, body: '{"include_secrets": true}'}),
        socket: await socket,
        script: await script,
    }
}"""


@pytest.mark.parametrize("host", [FOREIGN, "127.0.0.1"])
def test_foreign_pages_can_do_nothing(hub_address: HubAddress, page: Page, host: str) -> None:
    """`page` has the cookie. A page of another port of this host is even sent it: all ports are one site."""
    name = f"v{secrets.token_hex(4)}"
    mine = page.context.new_page()
    seen: list[tuple[str, int]] = []
    mine.on("response", lambda got: seen.append((got.request.method, got.status)))
    with foreign_pages("<p>a foreign page</p>") as port:
        show(mine, f"http://{host}:{port}/", "a foreign page")
        seen.clear()
        told = mine.evaluate(TRIES, [hub_address.ui_url, name])
        simple = told.pop("simple")
        assert simple.startswith("opaque") or simple == "refused"
        assert set(told.values()) == {"refused"}, told
        assert {status for method, status in seen} <= {401, 403}, seen
        mine.set_content(f"<iframe src='{hub_address.ui_url}/deployments'></iframe>")
        mine.wait_for_timeout(1000)
        assert [frame.url for frame in mine.frames if frame.url.startswith(hub_address.ui_url)] == []
        show(mine, f"http://{host}:{port}/", "a foreign page")
        form = (
            f"<form method=post action='{hub_address.api_url}/variables/' enctype=text/plain><button>x</button></form>"
        )
        mine.evaluate("html => document.body.innerHTML = html", form)
        mine.get_by_role("button").click()
        expect(mine.get_by_text("Requests from other pages are refused.")).to_be_visible()
    assert api.call(hub_address, "GET", f"/variables/name/{name}") is None
    mine.close()


def test_another_name_for_our_address_shows_nothing(hub_address: HubAddress, page: Page) -> None:
    """DNS rebinding: the page is of one origin with us, as far as the browser knows."""
    port = hub_address.ui_url.rpartition(":")[2]
    rebound = page.context.new_page()
    show(rebound, f"http://{FOREIGN}:{port}/", "Requests from other pages are refused.")
    told = rebound.evaluate(TRIES, [f"http://{FOREIGN}:{port}", "rebound"])
    del told["socket"], told["script"]
    assert set(told.values()) == {"basic 403"} | {told["simple"]}, told
    assert told["simple"] in ("basic 403", "opaque 0")
    rebound.close()


def test_cookies_belong_to_one_hub_and_expire(hub_address: HubAddress, page: Page, browser: Browser) -> None:
    (copied,) = of_the_door(page.context)
    me = person(browser)
    with another_hub() as (url, passes, now):
        me.add_cookies([
            {"name": name, "value": copied["value"], "domain": "127.0.0.1", "path": "/"}
            for name in (copied["name"], passes.cookie_name)
        ])  # fmt: skip
        other = me.new_page()
        show(other, url, CLOSED)
        come_in(other, lambda: f"{url}{ENTER}?token={passes.token()}")
        show(other, url, "the other hub")
        now[0] += COOKIE_S
        show(other, url, CLOSED)
        # The browser has sent both hubs' cookies to both; the first hub still knows its own.
        show(other, f"{hub_address.ui_url}/deployments", "Deployments")
    me.close()


@contextmanager
def foreign_pages(html: str) -> Iterator[int]:
    """A web server of somebody else on this machine; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def another_hub() -> Iterator[tuple[str, Passes, list[float]]]:
    """The door of another hub, before a page of ours: its address, its passes, its clock."""

    async def page(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send, 200, "<p>the other hub", "text/html")

    now = [time.time()]
    passes = Passes(b"another key", "another hub", lambda: now[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = OriginGuard(Door(page, Lock("ada:another", passes, url)), [url], ["127.0.0.1"])
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield url, passes, now
        finally:
            server.should_exit = True
            thread.join()
