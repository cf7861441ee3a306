"""Ending a flow in order: Ctrl-C, SIGTERM and a cancel from the UI are one and the same to its body."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from prefect import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from moorage.errors import HubError, InterruptedRunError
from moorage.hub.watch import OUTCOME, Outcome, is_cancelled, own_address
from moorage.work.threads import abandonable

T = TypeVar("T")

_LOOK_EVERY_S = 1.0
_LOOK_TIMEOUT_S = 6.0


async def cancellable(body: Coroutine[Any, Any, T]) -> T | State[Any]:
    """Do the work of a flow: however it is interrupted, it is cancelled once, undoes, and the run ends Cancelled.

    Prefect tells a flow that runs in a shell nothing of a cancel in the UI: we look at the state of our own run.
    """
    outcome = OUTCOME.get() or Outcome()
    # A task of its own: what cancels it can never hit Prefect's bookkeeping after it.
    doing = asyncio.ensure_future(body)
    watching = asyncio.ensure_future(_cancel_on_request(doing))
    outcome.began.set()
    try:
        with _sigterm_cancels(doing):
            value = await doing
    except (asyncio.CancelledError, InterruptedRunError) as error:
        return _cancelled(outcome, error)
    except Exception as error:
        outcome.end(error=error)
        raise
    finally:
        watching.cancel()
    outcome.end(value)
    return value


def _cancelled(outcome: Outcome, error: BaseException) -> State[Any]:
    """The state of a run that was interrupted; whoever asks for its result gets the error."""
    if not isinstance(error, InterruptedRunError):
        error = InterruptedRunError("interrupted before anything was done")
    outcome.end(error=error)
    return Cancelled(message=str(error), data=error)


async def _cancel_on_request(doing: asyncio.Future[Any]) -> None:
    """Look at the state of our own run, and cancel once when somebody wants it to end."""
    address, flow_run_id = own_address(), flow_run.id
    while address and flow_run_id:
        await asyncio.sleep(_LOOK_EVERY_S)
        with suppress(HubError, TimeoutError):  # no answer is no cancel
            if await abandonable(lambda: is_cancelled(address, str(flow_run_id)), _LOOK_TIMEOUT_S):
                doing.cancel()
                return


@contextmanager
def _sigterm_cancels(doing: asyncio.Future[Any]) -> Iterator[None]:
    """While the body runs, SIGTERM cancels it.

    Prefect's own handler raises in the main thread wherever the code happens to be, also in the middle of an undo. It
    comes back afterwards. In another thread there is nothing to do: no handler of Prefect's is there either.
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
        signal.signal(signal.SIGTERM, before)
