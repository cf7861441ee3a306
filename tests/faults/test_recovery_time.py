"""How much work it is to recover a start of four services whose process was killed; how long it takes: `make bench`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from moorage.model.request import SweepRequest
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context
from tests.faults.driver import COMMIT, Fault
from tests.faults.stage import same

if TYPE_CHECKING:
    from tests.faults.stage import Stage

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MOST_CALLS = 80
"""Of the engine, for a change, which brings four services up again. Each takes a few milliseconds."""
SLEEP = ["sleep", "1000"]


class Counting:
    """An engine that knows how often it was asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if callable(found):
            self.calls += 1
        return found


def four(image: str, version: int) -> dict[str, dict[str, Any]]:
    """Each needs the one before."""
    common = {
        "image": image,
        "command": SLEEP,
        "stop_grace_period": "0s",
        "volumes": ["data:/data", "/scratch"],
        "healthcheck": {"test": ["CMD", "true"], "interval": "5s"},
        "environment": {"VERSION": str(version)},
    }
    names = ["db", "cache", "backend", "frontend"]
    needs = [None, *names]
    return {
        name: common | ({"depends_on": {need: {"condition": "service_healthy"}}} if need else {})
        for name, need in zip(names, needs, strict=False)
    }


@pytest.mark.parametrize("kind", ["first", "change"])
def test_a_killed_up_of_four_services(stage: Stage, tiny_image: str, record_property: Any, kind: str) -> None:
    stage.define(**four(tiny_image, 1))
    before = same(stage.state())
    if kind == "change":
        stage.do("up")
        before = same(stage.state())
        stage.define(**four(tiny_image, 2))
    assert stage.fails("up", Fault(COMMIT, "before")) == -9

    engine = Counting(stage.world.engine)
    found = asyncio.run(sweep(Context(replace(stage.world, engine=engine)), SweepRequest()))

    assert [one.swept for one in found] == [True]
    assert same(stage.state()) == before
    record_property("recovery", {"kind": kind, "calls": engine.calls})
    assert engine.calls <= MOST_CALLS
