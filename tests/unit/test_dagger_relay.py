"""Connections into a session's own network."""

from __future__ import annotations

import asyncio
import socket

from moorage.adapters.dagger.relay import Relay

PIECE = bytes(range(256)) * 4096
"""A MiB: more than any buffer between."""


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only when all has come: the end of one direction must not be that of the other."""
    writer.write(await reader.read())
    await writer.drain()
    writer.close()


def test_all_of_it_comes_back_though_the_sender_has_ended() -> None:
    async def ask() -> bytes:
        service = await asyncio.start_server(_echo, "127.0.0.1", 0)
        relay, front = Relay(), listener()
        port = front.getsockname()[1]
        await relay.open("web", [front], [service.sockets[0].getsockname()[1]])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PIECE)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        relay.close("web")
        service.close()
        return answer

    assert asyncio.run(ask()) == PIECE


def test_a_service_that_has_gone_ends_the_connection() -> None:
    async def ask() -> bytes:
        gone = listener()
        port = gone.getsockname()[1]
        gone.close()
        relay, front = Relay(), listener()
        await relay.open("web", [front], [port])
        reader, writer = await asyncio.open_connection("127.0.0.1", front.getsockname()[1])
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            relay.close("web")

    assert asyncio.run(ask()) == b""
