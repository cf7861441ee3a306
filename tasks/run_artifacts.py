"""Artifacts and events of a run, while it runs and when it has ended: progress, services, timeline, failure."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import flow_run

from moorage.errors import InterruptedRunError, MoorageError
from moorage.model.event import Event
from moorage.model.state import StackState, StackStatus
from moorage.show.ci_summary import StepTimings
from moorage.show.formatting import one_line, seconds
from moorage.show.progress_estimate import ProgressEstimate
from tasks.artifacts import each_alone, key_of, publish, publish_failure, publish_timeline

_EVERY_S = 1.0
_LOOK_S = 0.1
_ENDS = ("down", "stop")


class RunArtifacts:
    """Listens to the events of one flow run; may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._advance = ProgressEstimate(time.monotonic())
        self._timeline = StepTimings()
        self._began = time.monotonic()
        self._artifact: Any = None
        self._ended = asyncio.Event()
        self._moving: asyncio.Future[None] | None = None

    def __call__(self, event: Event) -> None:
        """Record an event."""
        with self._lock:
            self._timeline(event)
            self._advance.update(event, time.monotonic())

    @property
    def events(self) -> list[Event]:
        """The events so far."""
        with self._lock:
            return list(self._timeline.events)

    def begin(self) -> None:
        """Update the progress artifact every second, from the first event until `stop`."""
        self._moving = asyncio.ensure_future(self._keep_moving())

    def stop(self) -> None:
        """Begin no other update. One under way goes on: the server would carry it out all the same, and maybe last."""
        self._ended.set()

    def give_up(self) -> None:
        """Wait for nothing any more."""
        if self._moving:
            self._moving.cancel()

    async def _keep_moving(self) -> None:
        pause_s = _LOOK_S
        async with get_client() as client:
            while not await self._has_ended(pause_s):
                with suppress(Exception):  # only an artifact: whatever Prefect's error, the run goes on
                    if self._artifact:
                        await aupdate_progress_artifact(self._artifact, *self._now(), client=client)
                    elif stack := self._stack():
                        percent, words = self._now()
                        self._artifact = await acreate_progress_artifact(percent, key_of(stack, "progress"), words)
                        pause_s = _EVERY_S

    async def _has_ended(self, within_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        return self._ended.is_set()

    async def end(self, value: Any, error: BaseException | None) -> None:
        """Publish the result of the flow, a value or an error, when it has ended."""
        found = value if isinstance(value, dict) else {}
        stack = found.get("stack") or _field(error, "stack") or self._stack()
        if not stack:
            return
        with each_alone("an event for automations"):
            _emit(stack, found, error, self.events)
        if not self.events and not error:
            return
        heading = (
            f"{flow_run.name}: {_verdict(found, error, self.events)} after {seconds(time.monotonic() - self._began)}"
        )
        with each_alone("the services"):
            if found.get("services"):
                await publish(StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields}))
        with each_alone("the failure"):
            if error:
                await publish_failure(stack, error, self.events)
        with each_alone("the timeline"):
            await publish_timeline(stack, heading, self._timeline)
        with each_alone("the progress"):
            if self._moving:
                await asyncio.wait([self._moving])
            if self._artifact:
                await aupdate_progress_artifact(self._artifact, *self._last(heading, error))

    def _last(self, heading: str, error: BaseException | None) -> tuple[float, str]:
        """The final progress: a failed run must not look almost done."""
        if error is None:
            return 100.0, heading
        with self._lock:
            percent = self._advance.end()
        return percent, f"{heading}, with {percent:.0f} % of its steps done"

    def _stack(self) -> str:
        with self._lock:
            return next((event.stack for event in self._timeline.events if event.stack), "")

    def _now(self) -> tuple[float, str]:
        with self._lock:
            now = time.monotonic()
            return self._advance.percent(now), self._advance.words(now)


def announce(kind: str, stack: str, services: Sequence[str] = (), **payload: Any) -> None:
    """Send the event `moorage.stack.<kind>` for automations: ready, failed, stopped, drifted, recovered.

    Related resources are the flow run with its deployment and tags, and the services.
    """
    host = socket.gethostname()
    emit_event(
        f"moorage.stack.{kind}",
        resource={
            "prefect.resource.id": f"moorage.stack.{host}.{stack}",
            "prefect.resource.name": stack,
            "moorage.stack": stack,
            "moorage.host": host,
        },
        related=[
            {
                "prefect.resource.id": f"moorage.service.{host}.{stack}.{name}",
                "prefect.resource.role": "service",
                "prefect.resource.name": name,
            }
            for name in services
        ],
        payload={key: value for key, value in payload.items() if value is not None},
    )


def _emit(stack: str, found: dict[str, Any], error: BaseException | None, events: Sequence[Event]) -> None:
    if recovering := next((event for event in events if "recovering" in event.details), None):
        announce("recovered", stack, operation=recovering.details["recovering"])
    if isinstance(error, InterruptedRunError):
        return
    if error:
        facts = {key: _field(error, key) for key in ("service", "reason", "undone", "exit_code_of_service")}
        services = [facts["service"]] if facts["service"] else []
        announce("failed", stack, services, message=one_line(str(error)), operation=flow_run.flow_name, **facts)
    elif flow_run.flow_name in _ENDS:
        announce("stopped", stack, sorted(found.get("services") or ()), operation=flow_run.flow_name)
    elif found.get("state") == StackState.RUNNING and events:
        urls = {name: [port["published"] for port in one["ports"]] for name, one in found["services"].items()}
        announce("ready", stack, sorted(urls), generation=found.get("generation"), ports=urls)


def _field(error: BaseException | None, key: str) -> Any:
    return error.fields.get(key) if isinstance(error, MoorageError) else None


def _verdict(found: dict[str, Any], error: BaseException | None, events: Sequence[Event]) -> str:
    if isinstance(error, InterruptedRunError):
        if not any(event.step for event in events):
            return "ended before anything was done"
        return "interrupted" if error.fields.get("undone") is False else "interrupted and undone"
    return "failed" if error else str(found.get("state") or "done")
