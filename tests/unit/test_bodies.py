r"""Half a character (`"\ud800"`) does not reach Prefect, which could then answer nobody who asks for a list with it."""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.exceptions import StarletteDeprecationWarning
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from moorage.hub import bodies
from moorage.hub.bodies import WholeCharacters

with warnings.catch_warnings():
    warnings.simplefilter("ignore", StarletteDeprecationWarning)  # as in test_door.py
    from starlette.testclient import TestClient

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

HALVES = {
    "in a value": rb'{"path": "/\udfff"}',
    "in a key": rb'{"\uD800": 1}',
    "the wrong way round": rb'{"path": "\udc00\ud800"}',
    "deep inside": rb'[[{"a": [["x", "\ud83d y"]]}]]',
    "after a backslash": rb'{"path": "\\\\\ud800"}',
    "as bytes": b'{"path": "\xed\xa0\x80"}',
}
WHOLE = {
    "two halves": rb'{"path": "\ud83d\ude00"}',
    "a backslash before it": rb'{"path": "\\ud800"}',
    "an emoji": '{"path": "😀"}'.encode(),
    "a NUL": rb'{"path": "\u0000"}',
    "nothing": b"",
}


async def _echo(request: Request) -> JSONResponse:
    return JSONResponse((await request.body()).decode())


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await socket.receive_text())


@pytest.fixture
def client() -> TestClient:
    routes = [Route("/", _echo, methods=["POST", "PATCH", "PUT", "GET"]), WebSocketRoute("/socket", _socket)]
    return TestClient(WholeCharacters(Starlette(routes=routes)))


@pytest.mark.parametrize("body", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_half_a_character_is_refused(client: TestClient, method: str, body: bytes) -> None:
    answer = client.request(method, "/", content=body)
    assert answer.status_code == 400
    assert "half a character" in answer.json()["detail"]


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE)
def test_anything_else_arrives_as_it_is(client: TestClient, body: bytes) -> None:
    assert client.post("/", content=body).json() == body.decode()


def test_what_is_no_json_is_for_others_to_refuse(client: TestClient) -> None:
    assert client.post("/", content=rb'{"path": "\ud800').json() == r'{"path": "\ud800'
    assert client.post("/", content=b"[" * 100_000).json() == "[" * 100_000


def test_in_pieces(client: TestClient) -> None:
    pieces = [rb'{"path": "\ud8', rb'00"}']
    assert client.post("/", content=iter(pieces)).status_code == 400


def test_a_body_has_an_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_MOST_BYTES", 1 << 20)
    assert client.post("/", content=b"x" * (1 << 20)).status_code == 200
    assert client.post("/", content=iter([b"x" * 1000] * 1100)).status_code == 413


def test_a_message_with_half_a_character_ends_its_socket(client: TestClient) -> None:
    with client.websocket_connect("/socket") as socket:
        socket.send_text(json.dumps("😀"))
        assert json.loads(socket.receive_text()) == "😀"
        socket.send_text(r'"\ud800"')
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_text()
        assert end.value.code == 1007
