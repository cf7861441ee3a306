"""`stats --all`: what one stack fails by hides no other, but an engine that is away is told as that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import EngineError, EngineUnavailableError, UnsupportedByBackendError
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


def test_an_engine_that_measures_nothing_says_so() -> None:
    machine = FakeMachine(ManualClock())
    machine.is_rootless, machine.has_limits = True, False
    meter = Meter(fake_world(machine, MemoryStore(), MemoryFiles()), ["good"])
    with pytest.raises(UnsupportedByBackendError, match="it does not measure what containers use"):
        asyncio.run(meter.look())


def test_an_engine_that_is_away_is_an_error() -> None:
    with pytest.raises(EngineUnavailableError):
        looked(EngineUnavailableError("no engine"))
