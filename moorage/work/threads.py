"""Blocking calls from async code: one function never abandons a call that it has started, another one may."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from moorage.errors import MoorageError, PortTakenError

T = TypeVar("T")

POOL_NAME, MOST_THREADS = "moorage", 32
_POOL = ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix=POOL_NAME)


async def in_thread(function: Callable[[], T], on_cancel: Callable[[], None] | None = None) -> T:
    """Run a blocking call in a thread, always to its end.

    On cancel, call `on_cancel` (if given, to make the call end sooner), wait until the call has ended, and only then
    pass the cancel on. A call that continues unnoticed leaks containers, as with `asyncio.to_thread`.
    """
    future = asyncio.get_running_loop().run_in_executor(_POOL, contextvars.copy_context().run, function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if on_cancel:
            on_cancel()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:  # cancelled again: the call is still running
                continue
        if not future.cancelled():
            future.exception()  # read, so that asyncio does not report it as never retrieved
        raise


async def in_thread_with_timeout(function: Callable[[], T], timeout_s: float) -> T:
    """Run a blocking call in a thread of its own, and abandon it on cancel or after `timeout_s`.

    Only for calls without effects. Raises TimeoutError. The thread is a daemon: it does not delay the exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def answer(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]

    def look() -> None:
        value, error = None, None
        try:
            value = function()
        except Exception as caught:  # noqa: BLE001 - handed over to the one who waits
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(answer, value, error)

    threading.Thread(target=contextvars.copy_context().run, args=(look,), daemon=True, name="moorage-look").start()
    async with asyncio.timeout(timeout_s):  # not `wait_for`: in Python 3.11 it swallows a cancel that meets the answer
        return await future


async def uncancelled(work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Wait until `work` has ended, and ignore all cancels in the meantime."""
    task = asyncio.ensure_future(work)
    await _ended(task)
    return task.result()


async def to_the_end(work: Awaitable[T]) -> T:
    """Wait until `work` has ended, and only then pass on a cancel, unless the work itself has failed."""
    task = asyncio.ensure_future(work)
    cancelled = await _ended(task)
    result = task.result()
    if cancelled:
        raise asyncio.CancelledError
    return result


async def _ended(task: asyncio.Future[Any]) -> bool:
    """Wait until the task has ended. True: this was cancelled in the meantime."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


def most_telling(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The most informative error of a group: a taken port can be replaced, and our own errors explain themselves."""
    flat = [
        e
        for error in errors.exceptions
        for e in (error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
    ]
    for kind in (PortTakenError, MoorageError):
        if found := [error for error in flat if isinstance(error, kind)]:
            return found[0]
    return flat[0]
