"""Connections into and out of a session's own network, byte by byte.

A socket belongs to the network in which it was made, whoever holds it. So Moorage makes the listeners of a service on
the machine's loopback address and hands them to the session, which accepts there and dials in its own network; and a
process that stays outside dials an engine that is reached over TCP, for connections to a socket file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

_PIECE_BYTES = 1 << 16
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_SOCKET = "engine"


class Relay:
    """Listeners of a session's services, each with the port in the session's network that it leads to."""

    def __init__(self) -> None:
        self._servers: dict[str, list[asyncio.Server]] = {}

    async def open(self, service: str, listeners: Sequence[socket.socket], ports: Sequence[int]) -> None:
        """Accept on the listeners of a service; nobody's connection is lost that came before."""
        made = self._servers.setdefault(service, [])
        for listener, port in zip(listeners, ports, strict=True):
            made.append(await _serve(listener, partial(asyncio.open_connection, "127.0.0.1", port)))

    def close(self, service: str) -> None:
        """Listen no longer; no error if it does not."""
        for server in self._servers.pop(service, []):
            server.close()


async def _serve(listener: socket.socket, dial: Callable[[], Awaitable[_Streams]]) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await dial()
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
        back.close()
        writer.close()

    return await asyncio.start_server(connected, sock=listener)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """All that comes, then its end; the other direction goes on."""
    try:
        while piece := await source.read(_PIECE_BYTES):
            sink.write(piece)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.transport.abort()


def stay_outside(host: str, port: int) -> str:
    """Fork a process that leads connections to an engine's port; returns the address that a session dials instead.

    To be called before the session enters a network of its own, and before it has threads. The process ends when the
    session does, however that ends. Raises OSError.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(_SOCKET)  # in the session's folder, which is its working directory and that of its CLI
    listener.listen()
    ours, theirs = os.pipe()
    if os.fork() == 0:
        with suppress(BaseException):
            os.close(theirs)
            _dial_until_the_end(listener, host, port, ours)
        os._exit(0)
    os.close(ours)  # `theirs` stays open until this process ends: nothing that it starts inherits it
    listener.close()
    return f"unix:///proc/self/cwd/{_SOCKET}"  # the folder's own path may be too long for the address of a socket


def _dial_until_the_end(listener: socket.socket, host: str, port: int, session: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)

    async def serve() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(session, ended.set)
        await _serve(listener, partial(asyncio.open_connection, host, port))
        await ended.wait()

    asyncio.run(serve())
