"""What a program in a container writes arrives whole, also what comes in one packet with the engine's headers."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import docker
import pytest

from moorage.adapters.engine import left_processes
from moorage.adapters.engine.exec import End, output_of

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


@pytest.fixture
def endless_engine() -> Iterator[str]:
    """An engine that sends output for as long as somebody listens; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            asked = b""
            while b'"Detach"' not in asked:
                asked += connection.recv(65536)
            connection.sendall(HEADERS)
            while True:
                connection.sendall(frame(1, b"y" * 65536))

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    serving.join(timeout=60)


def test_output_without_end_is_left(endless_engine: str) -> None:
    client = docker.APIClient(base_url=endless_engine, version="1.41", timeout=60)
    with pytest.raises(TimeoutError, match=r"no end within 0\.5 s"):
        output_of(client, "some", 4096, 0.5)
    client.close()


def test_of_much_output_the_end_is_kept() -> None:
    end = End(1000)
    for number in range(100_000):
        end.add(b"%06d\n" % number)
        assert len(end.bytes()) <= 5000
    assert end.bytes().endswith(b"099999\n")
    assert len(end.bytes()) >= 1000


def test_a_program_that_does_not_end_on_a_system_without_handles_of_processes(monkeypatch):
    """Docker Desktop on macOS: its socket is a file, its processes are those of another machine."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(left_processes.sys, "platform", "darwin")
    monkeypatch.setattr(left_processes, "_ended_within", lambda *_: False)
    client = SimpleNamespace(exec_inspect=lambda _id: {"Pid": os.getpid()})
    left_processes.end_left(client, "exec", "c" * 64, "mark", "")
