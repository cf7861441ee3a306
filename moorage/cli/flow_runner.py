"""Runs a flow in this process: hub, progress, signals, and a Prefect that stops answering."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from moorage.adapters.patience import patient_s
from moorage.cli.output import patient_remarks, remark
from moorage.cli.process import hung_threads
from moorage.cli.signals import InterruptibleRun, LoopThread
from moorage.cli.world import open_world
from moorage.errors import HubError, MoorageError
from moorage.hub import api
from moorage.hub.address import find, flow_run_url
from moorage.hub.api import HubAddress
from moorage.hub.outcome import CALLER, Caller, Outcome, explained
from moorage.model.event import Event
from moorage.settings import Settings
from moorage.work.definitions.resolve import Resolved

T = TypeVar("T")
Listener = Callable[[Event], None]

_UNDONE = ("up", "rollback", "fleet")
"""Flows that are undone when they are interrupted; the others roll forward."""
_NEEDS_A_HUB = ("up", "rollback")
"""Flows that bring something up, which is to be seen there; what ends or mends a stack must not wait for it."""
_HISTORY_S = 5.0
"""How long Prefect may take to record how a run ended."""
_BEGIN_S = 10.0
"""If a run has not begun after this time, we check whether Prefect still answers."""
_HEALTH_S = 3.0


def run_flow(
    name: str,
    parameters: dict[str, Any],
    *,
    start_hub: bool,
    settings: Settings | None = None,
    resolved: Resolved | None = None,
    loop: LoopThread | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Run a flow and give what it returns, with the page of its run as `flow_run_url`.

    `start_hub`: start our own server if none answers; else the run is recorded only if one does. `settings` None: those
    of the process. `resolved`: the definition, if it has been read. `loop` None: one of its own. `listener`: is told
    every event, besides the progress that is shown. Raises what the run raises.
    """
    from moorage.hub.control import ensure_server
    from moorage.hub.project import load_flow, using

    with patient_remarks() as on_line:
        address = ensure_server(on_line) if start_hub else _if_it_answers(name)
    assert address is not None or not start_hub  # noqa: S101 - ensure_server gives one or raises
    undoes = name in _UNDONE
    if address is None:
        from moorage.cli.without_hub import run_directly

        return with_progress(
            lambda emit: run_directly(name, parameters, open_world(emit, settings)),
            undoes=undoes,
            loop=loop,
            listener=listener,
        )
    logging.raiseExceptions = False  # else Prefect's handler prints that it cannot log; we say so once, at the end
    with using(address), _shown(listener) as emit, _own(loop) as own:
        flow = load_flow(name)
        outcome = Outcome()
        caller = Caller(outcome, emit, settings, resolved)
        found = _attended(own, partial(_called, flow, parameters, caller), caller, address, undoes=undoes)
    return {**found, "flow_run_url": url_of(address, found.get("flow_run_id"))}


def _if_it_answers(name: str) -> HubAddress | None:
    """The Prefect API to use. None: none answers, and the operation needs none. Raises HubError."""
    try:
        return find()
    except HubError as error:
        if name in _NEEDS_A_HUB:
            raise
        remark(f"note: {error}: this is done without it, and will not be in its history")
        return None


async def _called(flow: Callable[..., Awaitable[Any]], parameters: dict[str, Any], caller: Caller) -> Any:
    CALLER.set(caller)
    return await flow(**parameters)


def url_of(address: HubAddress, flow_run_id: Any) -> str | None:
    """URL of a flow run. None: there was no flow run."""
    return flow_run_url(address, flow_run_id) if flow_run_id else None


def with_progress(
    work: Callable[[Listener], Coroutine[Any, Any, T]],
    *,
    undoes: bool = True,
    loop: LoopThread | None = None,
    listener: Listener | None = None,
    quiet: bool = False,
) -> T:
    """Do async work to its end, its events shown on stderr, signals turned into one orderly cancel.

    `work` is given where events go. `undoes`: a cancel undoes it. Else it ends with what is under way. `quiet`: nothing
    is shown.
    """
    with (
        nullcontext(listener or _unheard) if quiet else _shown(listener) as emit,
        _own(loop) as own,
        InterruptibleRun(own, lambda: work(emit), undoes=undoes) as attendance,
    ):
        attendance.wait()
        return attendance.result()


def _unheard(_event: Event) -> None:
    """Nobody listens."""


@contextmanager
def _shown(listener: Listener | None) -> Iterator[Listener]:
    """Progress on stderr while the block lasts; gives what is to be told the events."""
    from moorage.show.progress import Progress

    with Progress(sys.stderr, live=sys.stderr.isatty()) as progress:

        def emit(event: Event) -> None:
            if listener:
                listener(event)
            progress(event)

        yield emit


def _own(loop: LoopThread | None) -> AbstractContextManager[LoopThread]:
    return nullcontext(loop) if loop else LoopThread()


def _attended(
    loop: LoopThread,
    call: Callable[[], Coroutine[Any, Any, Any]],
    caller: Caller,
    address: HubAddress,
    *,
    undoes: bool,
) -> dict[str, Any]:
    """What the body of the flow came to counts, whether or not Prefect could write it down."""
    outcome = caller.outcome
    with InterruptibleRun(loop, call, undoes=undoes) as attendance:
        outcome.on_end = attendance.wake
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
        if not outcome.began.is_set() and not api.answers(address, patient_s(_HEALTH_S)):
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
        if api.answers(address, patient_s(_HEALTH_S)):
            raise
        message = f"the Prefect API at {address.api_url} has stopped answering: {error}"
        raise HubError(message, api_url=address.api_url) from error
    return value


def _until_written_down(attendance: InterruptibleRun[Any]) -> None:
    """Wait a short while for Prefect's bookkeeping; if that fails, it changes nothing about the stack."""
    if not attendance.wait(patient_s(_HISTORY_S)):
        hung_threads.set()
        remark("note: the Prefect API does not answer: the history of this run is incomplete")
        return
    try:
        attendance.result()
    except MoorageError:
        return
    except Exception as error:  # noqa: BLE001 - any error of Prefect's
        remark(f"note: the history of this run is incomplete: {error}")
