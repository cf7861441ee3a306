"""What a program in a container writes arrives whole, also what comes in one packet with the engine's headers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import docker
import pytest

from moorage.adapters.engine.exec import output_of

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"


def frame(stream: int, text: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(text)) + text


@pytest.fixture
def hasty_engine() -> Iterator[str]:
    """An engine that sends headers and all output at once, as a real one may; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked = b""
            while b'"Detach"' not in asked:  # headers and body come apart
                asked += connection.recv(65536)
            connection.sendall(HEADERS + frame(1, b"first ") + frame(2, b"second ") + frame(1, b"third"))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)  # until the client has gone

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    serving.join(timeout=60)
    listener.close()


def test_nothing_is_lost(hasty_engine: str) -> None:
    client = docker.APIClient(base_url=hasty_engine, version="1.41", timeout=60)
    assert output_of(client, "some") == b"first second third"
    client.close()
