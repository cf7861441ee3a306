"""Ends a flow cleanly: to its body, Ctrl-C, SIGTERM and a cancel in the UI are the same."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

from prefect import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from moorage.errors import HubError, InterruptedRunError, MoorageError, shortened
from moorage.hub.outcome import CALLER, Outcome, is_cancelled, own_address
from moorage.work.threads import in_thread_with_timeout, uncancelled
from tasks.artifacts import briefly
from tasks.run_artifacts import RunArtifacts

T = TypeVar("T")

_LOOK_EVERY_S = 1.0
_LOOK_WITHIN_S = 5.0
"""A flow within another one: there may be many, and the outer one is looked after."""
_LOOK_TIMEOUT_S = 6.0
_AT_A_SHELL_S = 3.0
_IN_A_WORKER_S = 20.0
"""How long a run that has ended may take to publish its result, if somebody waits for it, and if nobody does."""


async def cancellable(body: Callable[[], Awaitable[T]], showing: RunArtifacts) -> T | State[Any]:
    """Do the work of a flow: however it is interrupted, it is cancelled once, undoes, and the run ends Cancelled.

    Prefect does not tell a flow in a shell about a cancel in the UI, so we poll the state of our own run.
    """
    caller = CALLER.get()
    outcome = caller.outcome if caller else Outcome()
    _outlive_the_worker()
    showing.begin()
    # A task of its own: what cancels it can never hit Prefect's bookkeeping after it.
    doing = asyncio.ensure_future(body())
    within = caller is not None and caller.is_flow
    watching = asyncio.ensure_future(_cancel_on_request(doing, _LOOK_WITHIN_S if within else _LOOK_EVERY_S))
    outcome.began.set()
    error: Exception | None = None
    value: Any = None
    try:
        with nullcontext() if within else _sigterm_cancels(doing):
            value = await doing
    except (asyncio.CancelledError, InterruptedRunError) as cut:
        error = _interrupted(cut)
    except Exception as failed:  # noqa: BLE001 - raised again after it has been published
        error = failed
    finally:
        watching.cancel()
        showing.stop()
    outcome.end(value, error)
    patience_s = _AT_A_SHELL_S if caller else _IN_A_WORKER_S
    await uncancelled(briefly(showing.end(value, error), patience_s))
    showing.give_up()
    if isinstance(error, InterruptedRunError):
        return Cancelled(message=str(error), data=error)
    if (
        await _asked_to_end()
    ):  # too late; but Prefect would refuse any other state, and the run stay Cancelling for ever
        return Cancelled(message=str(error or "the run was done before the cancel"), data=error or value)
    if isinstance(error, MoorageError):
        error.args = (shortened(str(error)),)  # Prefect keeps it with the state, and shows all of it in lists
    if error:
        raise error
    given: T = value
    return given


def _interrupted(error: BaseException) -> InterruptedRunError:
    """The result of an interrupted run."""
    if isinstance(error, InterruptedRunError):
        return error
    return InterruptedRunError("interrupted before anything was done")


async def _cancel_on_request(doing: asyncio.Future[Any], every_s: float) -> None:
    """Poll the state of our own run, and cancel once if somebody has cancelled it."""
    while own_address() and flow_run.id:
        await asyncio.sleep(every_s)
        if await _asked_to_end():
            doing.cancel()
            return


async def _asked_to_end() -> bool:
    """True if our own run is being cancelled."""
    address, flow_run_id = own_address(), flow_run.id
    with suppress(HubError, TimeoutError):  # no answer does not mean a cancel
        if address and flow_run_id:
            return await in_thread_with_timeout(lambda: is_cancelled(address, str(flow_run_id)), _LOOK_TIMEOUT_S)
    return False


def _outlive_the_worker() -> None:
    """Survive the death of the worker, when nobody reads our output anymore: rich would end the run for that."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in [handler for logger in loggers for handler in getattr(logger, "handlers", ())]:
        if console := getattr(handler, "console", None):
            console.on_broken_pipe = partial(setattr, console, "quiet", True)


@contextmanager
def _sigterm_cancels(doing: asyncio.Future[Any]) -> Iterator[None]:
    """While the body runs, SIGTERM cancels it.

    Prefect's own handler raises in the main thread wherever the code happens to be, even in the middle of an undo. It
    is restored afterwards. In other threads there is nothing to do, because Prefect has no handler there either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, doing.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        # A cancel arrives twice: we look at our own state, and the worker sends a signal. One that comes after the end
        # of a body that was cancelled has nothing left to cancel; Prefect would call the run Crashed for it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN if _was_interrupted(doing) else before)


def _was_interrupted(doing: asyncio.Future[Any]) -> bool:
    if not doing.done():
        return False
    return doing.cancelled() or isinstance(doing.exception(), InterruptedRunError)
