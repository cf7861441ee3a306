"""Runs async work that signals can cancel, and that a hanging Prefect cannot block."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeVar

from moorage.cli.output import remark
from moorage.cli.process import hung_threads
from moorage.errors import InterruptedRunError

T = TypeVar("T")

_INTERRUPTED = 130
_END_S = 1.0
"""How long the loop may take to end, with what is left in it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LoopThread:
    """The one event loop of a command, in a thread of its own.

    In the main thread Prefect would raise from SIGTERM wherever the code happens to be, also in an undo.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._end: Callable[[], object] = lambda: None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(asyncio.run, self._whole()), name="moorage-run", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        if not hung_threads.is_set():
            self._thread.join(_END_S)

    def begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin async work; its future can be cancelled."""
        assert self._loop is not None  # noqa: S101 - it runs from `with` on
        return asyncio.run_coroutine_threadsafe(work(), self._loop)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do async work to its end. An interrupt cancels it."""
        doing = self.begin(work)
        try:
            return doing.result()
        except KeyboardInterrupt:
            doing.cancel()
            raise

    async def _whole(self) -> None:
        self._loop, end = asyncio.get_running_loop(), asyncio.Event()
        self._end = partial(self._loop.call_soon_threadsafe, end.set)
        self._started.set()
        await end.wait()


class InterruptibleRun(Generic[T]):
    """Async work in the loop of a command, attended to by the main thread.

    First signal: one orderly cancel. Second: a status message. Third: quit at once; `sweep` does the rest.
    """

    def __init__(self, loop: LoopThread, work: Callable[[], Coroutine[Any, Any, T]], *, undoes: bool = True) -> None:
        self._loop = loop
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
        self._loop.begin(partial(self._run, started))
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
