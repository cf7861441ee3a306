"""The worker asks when it is told, until it has found what it was told of."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from moorage.hub import told


@pytest.fixture
def tell(monkeypatch):
    """Tells of a run; gives the event that listeners set."""
    events = []

    async def heard(_pool, event):
        events.append(event)
        await asyncio.Event().wait()

    monkeypatch.setattr(told, "_heard", heard)
    monkeypatch.setattr(told, "_PAUSES_S", (0.0,) * 4)

    def now():
        (event,) = events
        event.set()

    return now


async def settled():
    for _ in range(200):
        await asyncio.sleep(0)


async def asked(tell, answers, times):
    """How often it asks for answers that come one by one; it is told so many times."""
    left, count = list(answers), 0

    async def ask():
        nonlocal count
        count += 1
        answer = left.pop(0) if left else ()
        if isinstance(answer, Exception):
            raise answer
        return [SimpleNamespace(id=name) for name in answer]

    asking = asyncio.ensure_future(told.ask_when_told("pool", ask))
    await settled()
    for _ in range(times):
        tell()
        await settled()
    asking.cancel()
    return count


@pytest.mark.parametrize(
    ("answers", "times", "expected"),
    [
        (["a"], 1, 1),
        (["", "", "a"], 1, 3),
        (["a", "a", "ab"], 2, 3),
        (["a", "a", "b"], 2, 3),
        ([OSError("gone"), "a"], 1, 2),
        ([], 1, 4),
        ([], 0, 0),
    ],
    ids=[
        "at once",
        "before it is written down",
        "beside one that is about to begin",
        "after it",
        "away",
        "none",
        "untold",
    ],
)
async def test_it_asks_until_it_finds_another_one(tell, answers, times, expected):
    assert await asked(tell, answers, times) == expected
