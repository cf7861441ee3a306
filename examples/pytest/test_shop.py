"""Tests against a real PostgreSQL and Redis. Run them with `pytest`, or `pytest -n 4` for a stack per worker."""

import asyncio
import socket
from contextlib import closing

import pytest

from moorage import RunningStack


def redis(stack: RunningStack, *words: str) -> list[str]:
    """One Redis command over its plain-text protocol, so that this example needs no client library."""
    with closing(socket.create_connection((stack.host("redis", 6379), stack.port("redis", 6379)), timeout=5)) as line:
        line.sendall((" ".join(words) + "\r\n").encode())
        answer = line.recv(4096).decode()
    if not answer:
        raise ConnectionResetError("Redis closed the connection")
    return answer.splitlines()


def sql(stack: RunningStack, statement: str) -> str:
    command = ["psql", "--host=127.0.0.1", "--username=shop", "--no-align", "--tuples-only", "--command", statement]
    done = stack.exec("postgres", command)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="session")
def shop(moorage_stack: RunningStack) -> RunningStack:
    """The stack with our tables in it."""
    sql(moorage_stack, "CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)")
    return moorage_stack


def test_an_order_is_stored(shop: RunningStack) -> None:
    sql(shop, "INSERT INTO orders (item) VALUES ('rope')")
    assert "rope" in sql(shop, "SELECT item FROM orders")


def test_a_counter(shop: RunningStack) -> None:
    redis(shop, "SET", "visits", "41")
    assert redis(shop, "INCR", "visits") == [":42"]


async def test_from_async_code(shop: RunningStack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shop.port("redis", 6379))
    writer.write(b"PING\r\n")
    assert await reader.readline() == b"+PONG\r\n"
    writer.close()


@pytest.mark.moorage(scope="function")
def test_without_redis(moorage_stack: RunningStack) -> None:
    """A fault test: a stack of its own, so that the others keep theirs."""
    moorage_stack.kill("redis")
    with pytest.raises(ConnectionError):
        redis(moorage_stack, "PING")
    moorage_stack.start("redis")
    assert redis(moorage_stack, "PING") == ["+PONG"]
