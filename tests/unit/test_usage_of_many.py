"""`stats --all`: what one stack fails by hides no other, but an engine that is away is told as that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import EngineError, EngineUnavailableError
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryStore, fake_world
from moorage.work.queries.usage import Meter


class Engine:
    """Refuses to show one stack."""

    def __init__(self, engine: Any, error: Exception) -> None:
        self.engine, self.error = engine, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def observe(self, stack: str) -> Any:
        if stack == "bad":
            raise self.error
        return self.engine.observe(stack)


def looked(error: Exception) -> list[str]:
    world = fake_world(FakeMachine(ManualClock()), MemoryStore(), MemoryFiles())
    meter = Meter(replace(world, engine=Engine(world.engine, error)), ["bad", "good"])
    return [one.stack for one in asyncio.run(meter.look())]


def test_one_that_is_refused_hides_no_other() -> None:
    assert "good" in looked(EngineError("refused"))


def test_an_engine_that_is_away_is_an_error() -> None:
    with pytest.raises(EngineUnavailableError):
        looked(EngineUnavailableError("no engine"))
