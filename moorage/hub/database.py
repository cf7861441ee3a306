"""Prefect's SQLite database, with transactions that wait for each other instead of failing halfway.

Most of Prefect's transactions begin `DEFERRED`: they read, and ask for the write lock when they first write. If another
has written in between, SQLite refuses at once and the API answers 503; a worker that gets it for a run it has just
taken sets that run to Crashed. Here they begin `IMMEDIATE`, as Prefect's own busiest ones do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration, BaseDatabaseConfiguration
from prefect.server.utilities.database import get_dialect
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class ImmediateSqlite(AioSqliteConfiguration):
    """Prefect's own configuration, but for how a transaction begins.

    One that begins within another would wait for it for ever: it begins as it did.
    """

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """A transaction that holds the write lock from its first statement on."""
        within_another = SQLITE_BEGIN_MODE.get() is not None
        async with super().begin_transaction(session, with_for_update or not within_another) as transaction:
            yield transaction


def chosen(connection_url: str) -> BaseDatabaseConfiguration | None:
    """Ours for SQLite; None for another database: Prefect's own."""
    return ImmediateSqlite(connection_url) if get_dialect(connection_url).name == "sqlite" else None
