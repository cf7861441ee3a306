"""The hub's SQLite configuration against a real database, and beside Prefect's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.exc import OperationalError

from moorage.hub.database import ImmediateSqlite, chosen

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


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/it.db"


def test_two_transactions_that_read_and_then_write_both_get_there(tmp_path: Path) -> None:
    ended, rows = asyncio.run(two_that_read_and_then_write(ImmediateSqlite(url(tmp_path))))
    assert (ended, rows) == ([None, None], 2)


def test_with_prefects_own_one_of_them_is_refused(tmp_path: Path) -> None:
    # When this fails, Prefect has mended it, and ours can go.
    ended, rows = asyncio.run(two_that_read_and_then_write(AioSqliteConfiguration(url(tmp_path))))
    assert [type(end) for end in ended if end] == [OperationalError]
    assert rows == 1


def test_one_within_another_does_not_wait_for_it(tmp_path: Path) -> None:
    async def nested() -> int:
        config = ImmediateSqlite(url(tmp_path))
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


def test_another_database_is_left_to_prefect(tmp_path: Path) -> None:
    assert chosen("postgresql+asyncpg://u:p@127.0.0.1/prefect") is None
    assert isinstance(chosen(url(tmp_path)), ImmediateSqlite)
