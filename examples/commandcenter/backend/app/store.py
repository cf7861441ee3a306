"""Notes in PostgreSQL, hits in Redis."""

from typing import Self

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

from app import settings

SCHEMA = """
create table if not exists note (
    id         bigint generated always as identity primary key,
    body       text not null,
    created_at timestamptz not null default now()
)
"""


async def _ensure_schema(connection: AsyncConnection) -> None:
    """On every new connection, so that a database that was replaced under a running backend works as well."""
    # Two replicas may come here at once, and "if not exists" alone is no protection from that.
    await connection.execute("select pg_advisory_xact_lock(20250101)")
    await connection.execute(SCHEMA)
    await connection.commit()


class Store:
    """The two connections. Opening it waits for nothing: a missing database is a 503, not a failed start."""

    def __init__(self) -> None:
        self._pool = AsyncConnectionPool(
            kwargs=settings.POSTGRES | {"row_factory": dict_row},
            min_size=1,
            max_size=5,
            timeout=settings.CHECK_TIMEOUT_S,
            reconnect_timeout=5,
            open=False,
            configure=_ensure_schema,
            check=AsyncConnectionPool.check_connection,
        )
        self._redis = Redis.from_url(
            settings.REDIS_URL, socket_timeout=settings.CHECK_TIMEOUT_S, socket_connect_timeout=settings.CHECK_TIMEOUT_S
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()
        await self._redis.aclose()

    async def check_postgres(self) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("select 1")

    async def check_redis(self) -> None:
        await self._redis.ping()

    async def count_hit(self) -> int:
        return int(await self._redis.incr("hits"))

    async def notes(self) -> list[dict]:
        async with self._pool.connection() as connection:
            rows = await connection.execute("select id, body, created_at from note order by id desc limit 100")
            return await rows.fetchall()

    async def add_note(self, body: str) -> dict:
        async with self._pool.connection() as connection:
            statement = "insert into note (body) values (%s) returning id, body, created_at"
            rows = await connection.execute(statement, [body])
            return await rows.fetchone()

    async def delete_note(self, note_id: int) -> bool:
        async with self._pool.connection() as connection:
            rows = await connection.execute("delete from note where id = %s", [note_id])
            return rows.rowcount == 1
