"""Blocking calls from async code: what becomes of a cancel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from moorage.work.threads import in_thread_with_timeout


async def test_a_cancel_that_meets_the_answer_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in that moment would have changed nothing: the run would have waited on."""
    loop, go = asyncio.get_running_loop(), threading.Event()
    hand_over = loop.call_soon_threadsafe

    def hand_over_and_cancel(answer: Callable[..., None], *args: Any) -> Any:
        def both() -> None:  # in one step of the loop: in two, the task may have ended in between
            answer(*args)
            asking.cancel()

        return hand_over(both)

    asking = asyncio.create_task(in_thread_with_timeout(lambda: go.wait(60), 60))
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "call_soon_threadsafe", hand_over_and_cancel)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asking.cancelled()


async def test_what_takes_too_long_is_left() -> None:
    go = threading.Event()
    with pytest.raises(TimeoutError):
        await in_thread_with_timeout(lambda: go.wait(60), 0.01)
    go.set()
    assert await in_thread_with_timeout(lambda: "answer", 60) == "answer"
