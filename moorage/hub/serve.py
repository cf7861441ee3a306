"""`python -m moorage.hub.serve --host HOST --port PORT …`: Prefect's server behind the hub's door.

Does what `prefect server start` does, behind a guard against foreign web pages and a door that asks for the hub's
secret. It reads that from the server's record, which is written before it starts, and enters itself there.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moorage.adapters.locks.kernel import KernelLock
from moorage.hub import process, residence
from moorage.hub.bodies import WholeCharacters
from moorage.hub.door import Door, Lock
from moorage.hub.guard import OriginGuard, hosts_of
from moorage.hub.hub_home import HubHome, ServerRecord
from moorage.hub.passes import Passes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_BACKLOG = 2048
"""As many connections may wait while Prefect loads: uvicorn's own number."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    from moorage.hub import gc_thread, log_files, results

    gc_thread.collect_aside()
    arguments = _arguments()
    folder = HubHome(arguments.folder)
    lock = residence.move_in(folder.server_lock)  # until this process ends
    if lock is None:
        sys.exit(f"{folder.path}: another server is running (pid {KernelLock(folder.server_lock).holder()})")
    # Bound before anything else: while Prefect loads, no other program can take the port and be told the secret.
    listener = _listener(arguments.host, arguments.port)
    record = _entered(folder, arguments.port)
    log_files.keep_small(folder, arguments.log_bytes)
    results.keep_young(folder, arguments.keep_days)
    residence.leave_with(folder.server_lock)
    _serve(folder, record, listener, any_host=arguments.any_host)


def _serve(folder: HubHome, record: ServerRecord, listener: socket.socket, *, any_host: bool) -> None:
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.server.database.dependencies import temporary_database_config
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings

    from moorage.hub import database, rest

    rest.calm_background_work()
    settings = get_current_settings().server
    origins = settings.api.cors_allowed_origins.split(",")
    # Around the application, not inside it: automations call it in this process, under a host name of their own.
    guarded = OriginGuard(
        behind_door(create_app(final=True), folder, record), origins, None if any_host else hosts_of(origins)
    )
    with temporary_database_config(database.chosen(PREFECT_API_DATABASE_CONNECTION_URL.value())):
        config = uvicorn.Config(
            guarded,
            timeout_keep_alive=settings.api.keepalive_timeout,
            ws_ping_interval=settings.api.websocket_ping_interval,
            ws_ping_timeout=settings.api.websocket_ping_timeout,
            log_level=settings.logging_level.lower(),
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        sys.exit("Prefect's server could not start")


def behind_door(app: ASGIApp, folder: HubHome, record: ServerRecord) -> Door:
    """The application behind the door of this hub. The secret of the record has to be set."""
    assert record.auth  # noqa: S101 - `server.start` always sets it
    own = folder.secret()
    # Both count: with another password, or without the hub's own secret, browsers have to come in again.
    key = hmac.digest(own.encode(), f"cookies {record.auth}".encode(), hashlib.sha256)
    return Door(
        WholeCharacters(app), Lock(record.auth, Passes(key, str(folder.path)), record.ui_url, chosen=record.chosen)
    )


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Listening, not only bound: Linux would let another program listen there before us.
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    # Connections have it from the listener. asyncio sets it only if Python was told the socket's protocol. Without it
    # each answer on a kept connection, sent in two parts, waits 40 ms for the client's acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _entered(folder: HubHome, port: int) -> ServerRecord:
    """The record of this server, with this process in it.

    So it is known even if the command that started it was killed. Without a record, nobody waits for it: it ends.
    """
    record = folder.server()
    if record is None or record.port != port or not record.auth:
        sys.exit("the command that started this server has given up")
    record = record.model_copy(update={"process": process.this_process()})
    folder.save_server(record)
    return record


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m moorage.hub.serve", description="Prefect's server, guarded.")
    parser.add_argument("--host", required=True, help="address to listen on")
    parser.add_argument("--port", required=True, type=int, help="port to listen on")
    parser.add_argument("--folder", required=True, type=Path, help="the hub's folder, whose logs are kept small")
    parser.add_argument("--log-bytes", required=True, type=int, help="size at which a log is rotated")
    parser.add_argument("--keep-days", type=int, default=0, help="age in days at which results go; 0: never")
    parser.add_argument("--any-host", action="store_true", help="serve under any name: a password stands before it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
