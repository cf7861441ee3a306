"""The hub's SQLite configuration against a real database, and beside Prefect's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.server.database.configurations import AioSqliteConfiguration

    from moorage.hub import database

READ, WRITE = sa.text("select count(*) from it"), sa.text("insert into it values (1)")


async def two_that_read_and_then_write(config: AioSqliteConfiguration) -> tuple[list[BaseException | None], int]:
    """What became of each of two transactions at a time, and how many rows there are."""
    engine = await config.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("create table it (n)"))

    async def one() -> None:
        async with await config.session(engine) as session, config.begin_transaction(session):
            await session.execute(READ)
            await asyncio.sleep(0.2)
            await session.execute(WRITE)

    ended = await asyncio.gather(one(), one(), return_exceptions=True)
    async with await config.session(engine) as session:
        rows = (await session.execute(READ)).scalar_one()
    await engine.dispose()
    return ended, rows


@pytest.fixture
def ours() -> type[database.ImmediateSqlite]:
    """Imported by the one process that runs these tests, not by all: it is Prefect's server, and takes seconds."""
    from moorage.hub.database import ImmediateSqlite

    return ImmediateSqlite


@pytest.fixture
def theirs() -> type[AioSqliteConfiguration]:
    from prefect.server.database.configurations import AioSqliteConfiguration

    return AioSqliteConfiguration


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/it.db"


def test_two_transactions_that_read_and_then_write_both_get_there(
    tmp_path: Path, ours: type[database.ImmediateSqlite]
) -> None:
    ended, rows = asyncio.run(two_that_read_and_then_write(ours(url(tmp_path))))
    assert (ended, rows) == ([None, None], 2)


def test_with_prefects_own_one_of_them_is_refused(tmp_path: Path, theirs: type[AioSqliteConfiguration]) -> None:
    # When this fails, Prefect has mended it, and ours can go.
    ended, rows = asyncio.run(two_that_read_and_then_write(theirs(url(tmp_path))))
    assert [type(end) for end in ended if end] == [OperationalError]
    assert rows == 1


def test_one_within_another_does_not_wait_for_it(tmp_path: Path, ours: type[database.ImmediateSqlite]) -> None:
    async def nested() -> int:
        config = ours(url(tmp_path))
        engine = await config.engine()
        async with engine.begin() as connection:
            await connection.execute(sa.text("create table it (n)"))
        async with await config.session(engine) as outer, config.begin_transaction(outer):
            await outer.execute(WRITE)
            async with await config.session(engine) as inner, config.begin_transaction(inner):
                seen = (await inner.execute(READ)).scalar_one()
        await engine.dispose()
        return int(seen)

    assert asyncio.run(asyncio.wait_for(nested(), timeout=60)) == 0


def test_another_database_is_left_to_prefect(tmp_path: Path, ours: type[database.ImmediateSqlite]) -> None:
    from moorage.hub.database import chosen

    assert chosen("postgresql+asyncpg://u:p@127.0.0.1/prefect") is None
    assert isinstance(chosen(url(tmp_path)), ours)
