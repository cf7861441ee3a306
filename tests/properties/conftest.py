"""Transactions without chance: no threads, no time but what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from moorage.work import threads
from moorage.work.operations import leftovers
from moorage.work.queries import readiness
from moorage.work.runs import wait
from tests.properties.memory import CLOCK


class Inline(Executor):
    """Does what it is given at once."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args, **options))
        except BaseException as error:  # noqa: BLE001 - handed over to the one who waits
            done.set_exception(error)
        return done


@pytest.fixture
def without_threads_and_time(monkeypatch):
    """The same choices of Hypothesis lead to the same effects, in the same order: threads and time-outs would race."""
    inline, pause = Inline(), asyncio.sleep

    async def at_once(function: Callable[[], Any], _timeout_s: float) -> Any:
        return inline.submit(function).result()

    async def sleep(delay_s: float) -> None:
        CLOCK.advance(delay_s)
        await pause(0)

    monkeypatch.setattr(threads, "_POOL", inline)
    monkeypatch.setattr(wait, "in_thread_with_timeout", at_once)
    monkeypatch.setattr(readiness, "in_thread_with_timeout", at_once)
    monkeypatch.setattr(leftovers, "in_thread_with_timeout", at_once)
    monkeypatch.setattr(asyncio, "sleep", sleep)
