"""A hub that answers slowly is one that runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from moorage.errors import HubError
from moorage.hub import address, control, runs
from moorage.hub.hub_home import ServerRecord, hub_home
from moorage.hub.process import ProcessRecord, identity
from moorage.settings import settings

_LATE_S = 1.5
"""More than a busy machine's usual answer, which used to count as none."""


class Late(BaseHTTPRequestHandler):
    """Says that it is healthy, in its own time; not at all once its server ends."""

    def do_GET(self) -> None:
        if self.server.over.wait(_LATE_S):  # type: ignore[attr-defined]
            return
        with suppress(ConnectionError):  # who has asked did not wait for it
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


class SlowHub(ThreadingHTTPServer):
    """Waits for those who answer when it is closed: one that outlived it would tell a later test of a lost client."""

    daemon_threads = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.over = threading.Event()


@pytest.fixture
def port(moorage_home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A slow server, on record as a hub of this process."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("MOORAGE_API_URL", raising=False)
    settings.cache_clear()
    server = SlowHub(("127.0.0.1", 0), Late)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    number = int(server.server_address[1])
    base = f"http://127.0.0.1:{number}"
    process = ProcessRecord(pid=os.getpid(), identity=identity(os.getpid()) or "", since=datetime.now(UTC))
    record = ServerRecord(
        process=process, host="127.0.0.1", port=number, api_url=f"{base}/api", ui_url=base, auth="a:b", version="1"
    )
    hub_home().save_server(record)
    try:
        yield number
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        settings.cache_clear()


def test_it_is_waited_for(port: int) -> None:
    assert runs.address().api_url == f"http://127.0.0.1:{port}/api"


def test_one_that_does_not_answer_at_all_is_not_said_to_be_down(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_HEALTH_TIMEOUT_S", 0.1)
    for ask in (runs.address, control.running):
        with pytest.raises(HubError, match=rf"the hub runs \(pid {os.getpid()}\), but does not answer") as caught:
            ask()
        assert "hub stop" in str(caught.value.hint)


def test_one_whose_process_is_gone_is(port: int) -> None:
    record = hub_home().server()
    assert record is not None
    hub_home().save_server(
        record.model_copy(update={"process": record.process.model_copy(update={"identity": "another"})})
    )
    with pytest.raises(HubError, match="the hub is not running"):
        runs.address()
