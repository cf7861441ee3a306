"""The API. `/health` asks PostgreSQL and Redis every time: 200 when both answer, else 503 saying which does not."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import psycopg
import psycopg_pool
import redis
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StringConstraints

from app import settings
from app.store import Store

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Store() as store:
        app.state.store = store
        yield


app = FastAPI(title="Command center", lifespan=lifespan)


@app.exception_handler(psycopg.OperationalError)
@app.exception_handler(psycopg_pool.PoolTimeout)
async def no_database(_: Request, error: Exception) -> JSONResponse:
    log.warning("PostgreSQL: %s", _brief(error))
    return JSONResponse({"detail": "PostgreSQL does not answer"}, status_code=503)


# Added last, so it is the outermost: answers to errors carry its headers too.
app.add_middleware(
    CORSMiddleware,
    allow_origins=settings.CORS_ORIGINS,
    allow_methods=["GET", "POST", "DELETE"],
    allow_headers=["content-type"],
)


class Check(BaseModel):
    ok: bool
    latency_ms: float
    error: str | None = None


class Health(BaseModel):
    status: str
    postgres: Check
    redis: Check


@app.get("/health", responses={503: {"model": Health}})
async def health(request: Request, response: Response) -> Health:
    store: Store = request.app.state.store
    postgres, cache = await asyncio.gather(_check(store.check_postgres), _check(store.check_redis))
    healthy = postgres.ok and cache.ok
    response.status_code = 200 if healthy else 503
    response.headers["cache-control"] = "no-store"
    return Health(status="ok" if healthy else "unavailable", postgres=postgres, redis=cache)


async def _check(ask: Callable[[], Awaitable[None]]) -> Check:
    begun = time.perf_counter()
    error = None
    try:
        async with asyncio.timeout(settings.CHECK_TIMEOUT_S):
            await ask()
    except (TimeoutError, OSError, psycopg.Error, psycopg_pool.PoolTimeout, redis.RedisError) as caught:
        error = _brief(caught)
    return Check(ok=error is None, latency_ms=round((time.perf_counter() - begun) * 1000, 2), error=error)


def _brief(error: Exception) -> str:
    first_line = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {first_line}" if first_line else f"{type(error).__name__}: no answer in time"


class NewNote(BaseModel):
    # PostgreSQL's text holds every character but NUL.
    body: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class Note(BaseModel):
    id: int
    body: str
    created_at: datetime


class Notes(BaseModel):
    notes: list[Note]
    hits: int | None
    """How often the list was asked for; None while Redis does not answer."""


@app.get("/api/notes")
async def list_notes(request: Request) -> Notes:
    store: Store = request.app.state.store
    try:
        hits = await store.count_hit()
    except (OSError, redis.RedisError):
        hits = None
    return Notes(notes=await store.notes(), hits=hits)


@app.post("/api/notes", status_code=201)
async def add_note(request: Request, note: NewNote) -> Note:
    return Note(**await request.app.state.store.add_note(note.body))


@app.delete("/api/notes/{note_id}", status_code=204)
async def delete_note(request: Request, note_id: int) -> None:
    if not await request.app.state.store.delete_note(note_id):
        raise HTTPException(404, f"no note {note_id}")
