"""Prefect's SQLite database, with transactions that wait for each other instead of failing halfway.

Most of Prefect's transactions begin `DEFERRED`: they read first, and ask for the write lock at their first write. If
another transaction has written in between, SQLite refuses at once and the API answers 503; a worker that gets this
answer for a run it has just picked up sets that run to Crashed. Here transactions begin `IMMEDIATE`, as Prefect's own
busiest ones do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration, BaseDatabaseConfiguration
from prefect.server.utilities.database import get_dialect
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class ImmediateSqlite(AioSqliteConfiguration):
    """Prefect's own configuration, except for how a transaction begins.

    A nested transaction would wait for the outer one for ever, so it begins as before.
    """

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """A transaction that holds the write lock from its first statement."""
        within_another = SQLITE_BEGIN_MODE.get() is not None
        async with super().begin_transaction(session, with_for_update or not within_another) as transaction:
            yield transaction


def chosen(connection_url: str) -> BaseDatabaseConfiguration | None:
    """Our configuration for SQLite; None for any other database: use Prefect's own."""
    return ImmediateSqlite(connection_url) if get_dialect(connection_url).name == "sqlite" else None
