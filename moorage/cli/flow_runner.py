"""Runs a flow in this process: hub, progress, signals, and a Prefect that stops answering."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from moorage.cli.output import patient_remarks, remark
from moorage.cli.signals import InterruptibleRun, hung_threads
from moorage.errors import HubError, MoorageError
from moorage.hub import api
from moorage.hub.address import find, flow_run_url
from moorage.hub.api import HubAddress
from moorage.hub.outcome import OUTCOME, Outcome, explained

T = TypeVar("T")

_UNDONE = ("up", "rollback")
"""Flows that are undone when they are interrupted; the others roll forward."""
_HISTORY_S = 5.0
"""How long Prefect may take to record how a run ended."""
_BEGIN_S = 10.0
"""If a run has not begun after this time, we check whether Prefect still answers."""
_HEALTH_S = 3.0


def run_flow(name: str, parameters: dict[str, Any], *, start_hub: bool) -> dict[str, Any]:
    """Run a flow and return its result, with the URL of its run as `flow_run_url`.

    `start_hub`: start our own server if none answers; otherwise the run is recorded only if one does. Raises what the
    run raises.
    """
    from moorage.hub.control import ensure_server
    from moorage.hub.project import load_flow, use

    with patient_remarks() as on_line:
        address = ensure_server(on_line) if start_hub else find()
    assert address is not None or not start_hub  # noqa: S101 - ensure_server gives one or raises
    if address is None:
        from moorage.cli.without_hub import run_directly

        return with_progress(lambda: run_directly(name, parameters), undoes=name in _UNDONE)
    use(address)
    logging.raiseExceptions = False  # else Prefect's handler prints that it cannot log; we report it once, at the end
    found = _run(load_flow(name), parameters, address, undoes=name in _UNDONE)
    return {**found, "flow_run_url": url_of(address, found.get("flow_run_id"))}


def url_of(address: HubAddress, flow_run_id: Any) -> str | None:
    """URL of a flow run. None: there was no flow run."""
    return flow_run_url(address, flow_run_id) if flow_run_id else None


def with_progress(work: Callable[[], Awaitable[T]], *, undoes: bool = True) -> T:
    """Run async work to its end, show its events on stderr, and turn signals into one orderly cancel.

    `undoes`: a cancel undoes the work. Otherwise the steps in progress are finished.
    """
    with _progress(), InterruptibleRun(work, undoes=undoes) as attendance:
        attendance.wait()
        return attendance.result()


def _progress() -> AbstractContextManager[object]:
    from moorage.show.progress import Progress
    from moorage.world import listen

    progress = Progress(sys.stderr, live=sys.stderr.isatty())
    listen(progress)
    return progress


def _run(
    flow: Callable[..., Awaitable[Any]], parameters: dict[str, Any], address: HubAddress, *, undoes: bool
) -> dict[str, Any]:
    """Like `with_progress`, for a flow. The outcome of its body counts, whether or not Prefect could record it."""
    with _progress():
        outcome = Outcome(on_end=lambda: attendance.wake())  # noqa: PLW0108 - `attendance` does not exist yet
        OUTCOME.set(outcome)
        with InterruptibleRun(lambda: flow(**parameters), undoes=undoes) as attendance:
            _until_body_ends(attendance, outcome, address)
            if not outcome.ended.is_set():
                return _failed_outside(attendance, address)
            attendance.cancellable = False
            _until_written_down(attendance)
        if outcome.error:
            raise outcome.error
        value: dict[str, Any] = outcome.value
        return value


def _until_body_ends(attendance: InterruptibleRun[Any], outcome: Outcome, address: HubAddress) -> None:
    """Raises HubError if Prefect stops answering before the body begins: nothing has been done then."""
    while not outcome.ended.is_set():
        if attendance.wait(None if outcome.began.is_set() else _BEGIN_S):
            return
        if not outcome.began.is_set() and not api.answers(address, _HEALTH_S):
            hung_threads.set()
            raise HubError(f"the Prefect API at {address.api_url} has stopped answering", api_url=address.api_url)


def _failed_outside(attendance: InterruptibleRun[Any], address: HubAddress) -> dict[str, Any]:
    """Prefect failed before the body began: nothing was done."""
    try:
        value: dict[str, Any] = attendance.result()
    except MoorageError:
        raise
    except Exception as error:
        if told := explained(error, address):
            raise told from error
        if api.answers(address, _HEALTH_S):
            raise
        message = f"the Prefect API at {address.api_url} has stopped answering: {error}"
        raise HubError(message, api_url=address.api_url) from error
    return value


def _until_written_down(attendance: InterruptibleRun[Any]) -> None:
    """Wait a short while for Prefect's bookkeeping; if that fails, it changes nothing about the stack."""
    if not attendance.wait(_HISTORY_S):
        hung_threads.set()
        remark("note: the Prefect API does not answer: the history of this run is incomplete")
        return
    try:
        attendance.result()
    except MoorageError:
        return
    except Exception as error:  # noqa: BLE001 - any error of Prefect's
        remark(f"note: the history of this run is incomplete: {error}")
