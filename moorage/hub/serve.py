"""`python -m moorage.hub.serve --host HOST --port PORT …`: Prefect's server behind a guard against foreign web pages.

Does what `prefect server start` does, and one thing more. CORS only prevents a foreign page from reading our answers,
not from sending requests: Prefect treats a POST without a content type as JSON, and browsers send such requests without
a preflight. CORS does not cover web sockets either. So requests that a browser sends on behalf of another page are
refused here, by their `Origin`. A page whose own name resolves to our address (DNS rebinding) is recognised by its
`Host`. Programs send no `Origin` and are served as usual.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_POLICY_VIOLATION = 1008


class OriginGuard:
    """ASGI middleware: answers 403 to requests that a browser sends on behalf of a foreign web page.

    `origins` are the pages that may call us, such as `http://127.0.0.1:4200`. `hosts` are the host names under which we
    may be called, without port; None: any.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str], hosts: Iterable[str] | None) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request or web socket."""
        if scope["type"] == "lifespan" or self._welcome(dict(scope["headers"])):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Requests from other pages are refused."})

    def _welcome(self, headers: dict[bytes, bytes]) -> bool:
        origin, host = (headers.get(name, b"").decode("latin-1") for name in (b"origin", b"host"))
        named = self._hosts is None or _host_of(f"//{host}") in self._hosts
        return named and (not origin or origin in self._origins)


def hosts_of(origins: Iterable[str]) -> frozenset[str]:
    """The host names of origins, without ports."""
    return frozenset(_host_of(origin) for origin in origins)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.server.database.dependencies import temporary_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings

    from moorage.hub import database, gc_thread, log_files
    from moorage.hub.hub_home import HubHome

    gc_thread.collect_aside()
    arguments = _arguments()
    log_files.keep_small(HubHome(arguments.folder), arguments.log_bytes)
    settings = get_current_settings().server
    origins = settings.api.cors_allowed_origins.split(",")
    # Around the application, not inside it: automations call it in this process, under a host name of their own.
    guarded = OriginGuard(create_app(final=True), origins, None if arguments.any_host else hosts_of(origins))
    with temporary_database_config(database.chosen(PREFECT_API_DATABASE_CONNECTION_URL.value())):
        uvicorn.run(
            guarded,
            host=arguments.host,
            port=arguments.port,
            timeout_keep_alive=settings.api.keepalive_timeout,
            ws_ping_interval=settings.api.websocket_ping_interval,
            ws_ping_timeout=settings.api.websocket_ping_timeout,
            log_level=settings.logging_level.lower(),
        )


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m moorage.hub.serve", description="Prefect's server, guarded.")
    parser.add_argument("--host", required=True, help="address to listen on")
    parser.add_argument("--port", required=True, type=int, help="port to listen on")
    parser.add_argument("--folder", required=True, type=Path, help="the hub's folder, whose logs are kept small")
    parser.add_argument("--log-bytes", required=True, type=int, help="size at which a log is rotated")
    parser.add_argument("--any-host", action="store_true", help="serve under any name: a password stands before it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
