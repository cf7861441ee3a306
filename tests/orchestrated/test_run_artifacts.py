"""What a run publishes when it has ended: one thing that cannot be published costs none of the others."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.errors import RunError
from moorage.model.event import Action, Event
from moorage.model.state import ServiceStatus, StackState, StackStatus
from tasks import run_artifacts

PARTS = ("announce", "publish", "publish_failure", "publish_timeline")
STATUS = StackStatus(
    stack="shop",
    path=None,
    state=StackState.RUNNING,
    generation=1,
    services={"web": ServiceStatus(state="running", ready=True)},
).model_dump(mode="json")


@pytest.mark.parametrize("broken", PARTS)
def test_each_is_published_alone(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def part(name: str, *, is_async: bool) -> Any:
        def call(*_args: Any, **_facts: Any) -> None:
            if name == broken:
                raise RuntimeError("Prefect is away")
            done.append(name)

        async def later(*args: Any, **facts: Any) -> None:
            call(*args, **facts)

        return later if is_async else call

    for name in PARTS:
        monkeypatch.setattr(run_artifacts, name, part(name, is_async=name != "announce"))
    monkeypatch.setattr(logging.getLogger("moorage.run"), "propagate", True)
    shown = run_artifacts.RunArtifacts()
    shown(Event(at=datetime.now(UTC), stack="shop", action=Action.DONE, step="start web"))
    asyncio.run(shown.end(STATUS, RunError("it failed", stack="shop")))
    assert set(done) == set(PARTS) - {broken}
    assert "Prefect is away" in caplog.text
