"""Transactions without chance: no threads, no time but what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.properties.transactions")

from moorage.work import threads  # noqa: E402 - after what concerns imports
from moorage.work.queries import readiness  # noqa: E402 - the same
from moorage.work.runs import wait  # noqa: E402 - the same
from tests.properties.memory import CLOCK  # noqa: E402 - the same


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
    monkeypatch.setattr(asyncio, "sleep", sleep)
