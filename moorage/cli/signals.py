"""Runs async work that signals can cancel, and that a hanging Prefect cannot block."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeVar

from moorage.cli.output import remark
from moorage.errors import InterruptedRunError

T = TypeVar("T")

_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

hung_threads = threading.Event()
"""Set: a thread hangs in a call to Prefect. The process must end without waiting for it."""


class InterruptibleRun(Generic[T]):
    """Async work in a thread of its own, while the main thread handles signals.

    In the main thread, Prefect would raise from SIGTERM wherever the code happens to be, even in an undo.

    First signal: one orderly cancel. Second: a status message. Third: quit at once; `sweep` does the rest.
    """

    def __init__(self, work: Callable[[], Awaitable[T]], *, undoes: bool = True) -> None:
        self._work = work
        self._doing = "undoing" if undoes else "finishing"
        """What a cancel does: a run that rolls forward only finishes the steps in progress."""
        self._calls: SimpleQueue[str] = SimpleQueue()
        self._result: Future[T] = Future()
        self._cancel: Callable[[], object] = lambda: None
        self._interrupts = 0
        self.cancellable = True
        """False: too late for a cancel, the work is done and its result is being recorded."""

    def __enter__(self) -> Self:
        # If SIGHUP is ignored (nohup), it stays ignored.
        heard = [n for n in _SIGNALS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._interrupted) for number in heard}
        started = threading.Event()
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(asyncio.run, self._run(started)), name="moorage-run", daemon=True
        )
        thread.start()
        started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wake(self) -> None:
        """End a `wait` that is in progress; may be called from any thread."""
        self._calls.put("")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Handle signals until the work has ended, `wake` is called or the time is over. True: it has ended."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._result.done():
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                call = self._calls.get(timeout=left_s)
            except Empty:
                break
            if call != "signal":
                break
            self._answer()
        return self._result.done()

    def result(self) -> T:
        """The result of the work; raises what it raised."""
        try:
            return self._result.result()
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise InterruptedRunError("interrupted before anything was done") from None

    def _interrupted(self, _number: int, _frame: Any) -> None:
        # Only this: a handler may interrupt anything. SimpleQueue.put is reentrant.
        self._calls.put("signal")

    def _answer(self) -> None:
        self._interrupts += 1
        if self._interrupts > 2:
            os._exit(_INTERRUPTED)
        if not self.cancellable:
            remark("already done; recording the result. Ctrl-C again quits now")
            self._interrupts = 2
        elif self._interrupts == 1:
            what = (
                "undoing what was done"
                if self._doing == "undoing"
                else "finishing the steps in progress, starting no more"
            )
            remark(f"interrupted: {what} (Ctrl-C again for status, a third time to quit now)")
            self._cancel()
        else:
            remark(f"still {self._doing}; Ctrl-C again quits now and leaves the rest to `moorage sweep`")

    async def _run(self, started: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        doing = asyncio.ensure_future(self._work())
        self._cancel = partial(loop.call_soon_threadsafe, doing.cancel)
        started.set()
        try:
            self._result.set_result(await doing)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._result.set_exception(error)
        self.wake()
