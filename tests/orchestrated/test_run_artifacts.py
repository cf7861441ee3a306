"""What a run publishes when it has ended: one thing that cannot be published costs none of the others."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
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


def test_the_last_word_comes_after_an_update_that_was_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server carries a request out, also if its caller has gone meanwhile."""
    said: list[str] = []

    async def main() -> None:
        under_way, free = asyncio.Event(), asyncio.Event()

        async def create(*_args: Any, **_facts: Any) -> str:
            return "artifact"

        async def update(_artifact: str, _percent: float, words: str, **_facts: Any) -> None:
            if not under_way.is_set():
                under_way.set()
                await free.wait()
            said.append(words)

        async def nothing(*_args: Any, **_facts: Any) -> None:
            free.set()

        monkeypatch.setattr(run_artifacts, "acreate_progress_artifact", create)
        monkeypatch.setattr(run_artifacts, "aupdate_progress_artifact", update)
        monkeypatch.setattr(run_artifacts, "get_client", nullcontext)
        monkeypatch.setattr(run_artifacts, "_EVERY_S", 0.01)
        monkeypatch.setattr(run_artifacts, "publish_failure", nothing)
        monkeypatch.setattr(run_artifacts, "publish_timeline", nothing)
        monkeypatch.setattr(run_artifacts, "announce", lambda *_args, **_facts: None)
        shown = run_artifacts.RunArtifacts()
        shown(Event(at=datetime.now(UTC), stack="shop", action=Action.DONE, step="start web"))
        shown.begin()
        await under_way.wait()
        shown.stop()
        await shown.end({}, RunError("it failed", stack="shop"))

    asyncio.run(main())
    assert "failed after" in said[-1]
    assert len(said) >= 2
