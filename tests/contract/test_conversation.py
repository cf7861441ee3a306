"""A program that is given an input, with TLS between us and the engine, and without."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.docker_context import Endpoint
from moorage.adapters.engine.connecting import PatientClient
from moorage.adapters.engine.conversation import Conversation
from moorage.errors import EngineError
from tests.faults import certificates

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


class Engine:
    """Runs one program, `cat`, that ends with the code `code`; how it ended is known after so many looks."""

    def __init__(self, secure: Path | None, code: int | None, looks: int) -> None:
        self.code, self.looks, self.heard = code, looks, bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = None
        if secure:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(secure / "server.pem", secure / "server-key.pem")
        address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.endpoint = Endpoint(address, certificates=secure)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while line := reader.readline():
                    length = 0
                    while (header := reader.readline()) not in (b"\r\n", b""):
                        name, _, value = header.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    reader.read(length)
                    path = line.split()[1].decode()
                    if path.endswith("/start"):
                        self._cat(connection, reader)
                        return
                    said = json.dumps(self._answer(path)).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))

    def _answer(self, path: str) -> dict[str, Any]:
        if path.endswith("/version"):
            return {"Version": "28.0.0", "ApiVersion": "1.51", "MinAPIVersion": "1.24"}
        if path.endswith("/json"):
            self.looks -= 1
            return {"Running": True, "ExitCode": None} if self.looks > 0 else {"Running": False, "ExitCode": self.code}
        return {"Id": "e"}

    def _cat(self, connection: socket.socket, reader: Any) -> None:
        connection.sendall(UPGRADED + _frame(b"beginning\n"))
        while piece := reader.read1(1 << 16):
            self.heard += piece
            connection.sendall(_frame(piece))
        connection.sendall(_frame(b"\nend"))


def _frame(text: bytes) -> bytes:
    return struct.pack(">BxxxL", 1, len(text)) + text


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificates.write(folder, "127.0.0.1")
    return folder


@pytest.fixture(params=["plain", "TLS"])
def conversation(request: pytest.FixtureRequest, keys: Path) -> Iterator[Any]:
    """Opens one with an engine of that kind."""
    made: list[Any] = []

    def begin(code: int | None = 0, looks: int = 1) -> tuple[Conversation, Engine]:
        engine = Engine(keys if request.param == "TLS" else None, code, looks)
        client = PatientClient(engine.endpoint, 30)
        made.extend((engine, client))
        found = Conversation(client, "c", ["cat"], {}, stdin=True)
        made.append(found)
        return found, engine

    yield begin
    for one in reversed(made):
        one.close()


def test_what_is_sent_arrives_whole(conversation):
    """Both directions are full at once, and the other side still sends when we have ended ours."""
    sent = b"".join(b"%09d\n" % number for number in range(400_000))
    one, engine = conversation()
    one.answer(sent[at : at + 70_000] for at in range(0, len(sent), 70_000))
    one.check()
    assert bytes(engine.heard) == sent


def test_what_it_says_while_it_is_given_its_input_is_told(conversation):
    one, _ = conversation(code=1)
    one.answer([b"no such table"])
    with pytest.raises(EngineError, match="beginning"):
        one.check()


def test_its_end_is_waited_for(conversation):
    """A dump that failed counted as a good one where the engine did not know its exit code yet."""
    one, _ = conversation(code=3, looks=4)
    one.answer([b"x"])
    with pytest.raises(EngineError, match="exit code 3"):
        one.check()


def test_an_end_that_nobody_knows_is_no_good_end(conversation):
    one, _ = conversation(code=None)
    one.answer([b"x"])
    with pytest.raises(EngineError, match="does not know how"):
        one.check()
