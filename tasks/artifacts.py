"""Artifacts that a run publishes in the UI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from moorage import bounded
from moorage.adapters.patience import Patience
from moorage.errors import MoorageError
from moorage.model.event import Action, Event
from moorage.model.state import ServiceStatus, StackStatus
from moorage.show.as_markdown import code, escaped, failure_markdown, fenced
from moorage.show.ci_summary import StepTimings
from moorage.show.formatting import host_port, seconds, short_id, url_of, without_twins
from moorage.show.progress_state import begins_undo
from moorage.work.definitions import generations
from moorage.work.threads import in_thread
from moorage.world import open_world

_LOGGER = logging.getLogger("moorage.run")
_PATIENCE_S, _LOOK_S = 3.0, 0.1
_WHAT = ("failure", "plan", "progress", "timeline")


async def briefly(publishing: Coroutine[Any, Any, None], patience_s: float = _PATIENCE_S) -> None:
    """Publish, if that takes not too long: after the commit, a run neither fails nor waits because of artifacts."""
    task = asyncio.ensure_future(publishing)
    patience = Patience("what the run shows is not published", patience_s)
    try:
        while not task.done() and patience.lasts():
            await asyncio.wait([task], timeout=_LOOK_S)
    except asyncio.CancelledError:
        _LOGGER.info("the run was cancelled after it had committed")
    if not task.done():
        task.cancel()
        _LOGGER.warning("could not publish everything: Prefect took more than %.0f s", patience.waited_s())
    elif error := task.exception():
        _LOGGER.warning("could not publish: %s", error)


@contextmanager
def each_alone(what: str) -> Iterator[None]:
    """One of several things to publish: one that cannot be is told of in the log, and the others still are."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - any error of Prefect's: the run has ended already
        _LOGGER.warning("could not publish %s: %s", what, error)


def key_of(stack: str, what: str = "") -> str:
    """Key of a stack's artifact: the UI has one page per key, with all versions.

    Keys are lower-case letters, digits and `-`. A stack whose name has to be rewritten, or ends like the key of another
    one's timeline, gets a digest: `a_b` and `a-b` share no page.
    """
    if "_" in stack or stack.rpartition("-")[2] in _WHAT:
        stack = f"{stack.replace('_', '-')}-{sha256(stack.encode()).hexdigest()[:8]}"
    return "-".join(filter(None, ("moorage", stack, what)))


async def publish(status: StackStatus) -> None:
    """The table of services, with their addresses as links."""
    images = await in_thread(lambda: _images(status.stack))
    rows = [
        {
            "service": name,
            "state": f"{service.state}, ready" if service.ready else service.state,
            "URL": ", ".join(f"[{url}]({url})" for url in map(url_of, without_twins(service.ports)) if url),
            "port": ", ".join(
                f"{host_port(p.host_ip, p.published)} → {p.target}/{p.protocol}" for p in without_twins(service.ports)
            ),
            "image": images.get(name) or short_id(service.image_id),
            "time to ready": _took(service),
        }
        for name, service in status.services.items()
    ]
    description = f"Stack {status.stack} is {status.state}, generation {status.generation or '-'}"
    await acreate_table_artifact(table=rows, key=key_of(status.stack), description=description)


def _took(service: ServiceStatus) -> str:
    return seconds(service.time_to_ready_s) if service.time_to_ready_s is not None else ""


def _images(stack: str) -> dict[str, str]:
    """Service → name of its image in the current generation."""
    generation = generations.current(open_world(), stack)
    return {name: image.reference for name, image in generation.images.items()} if generation else {}


async def publish_timeline(stack: str, heading: str, timeline: StepTimings) -> None:
    """Duration of each step, as bars."""
    lines = [f"### {escaped(heading)}", "", *fenced(timeline.text() or "no step took noticeable time"), ""]
    notices = [event for event in timeline.events if event.action in (Action.NOTICE, Action.RETRY)]
    lines += [f"- {escaped(f'{event.step}: {event.message}' if event.step else event.message)}" for event in notices]
    await acreate_markdown_artifact(
        markdown="\n".join(lines), key=key_of(stack, "timeline"), description=f"Timeline of {stack}: {heading}"
    )


async def publish_failure(stack: str, error: BaseException, events: Sequence[Event]) -> None:
    """Cause, logs, last probe output, and what was undone."""
    told = (
        error.as_dict() if isinstance(error, MoorageError) else {"error": type(error).__name__, "message": str(error)}
    )
    report = await in_thread(lambda: _report(told.get("report")))
    lines = [failure_markdown(told, report), *_undone(events)]
    await acreate_markdown_artifact(
        markdown="\n".join(lines), key=key_of(stack, "failure"), description=f"{stack}: why it failed, what was undone"
    )


def _report(path: str | None) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = bounded.json_of(Path(path), bounded.REPORT_BYTES) if path else {}
    except (OSError, ValueError):
        return None
    return found or None


def _undone(events: Sequence[Event]) -> list[str]:
    start = next((number for number, event in enumerate(events) if begins_undo(event)), None)
    if start is None:
        return ["", "### What was undone", "", "Nothing: everything was left as it is."]
    said = (Action.DONE, Action.FAILED, Action.SKIPPED, Action.UNDONE)
    lines = [
        f"- {code(event.step)}: {escaped(event.message)}" if event.step else f"- {escaped(event.message)}"
        for event in events[start:]
        if event.action in said
    ]
    return ["", "### What was undone", "", *lines]
