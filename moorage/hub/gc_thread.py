"""Garbage collection on a thread of its own, for a process whose event loop shares SQLite connections with threads.

Prefect's server leaves SQLite cursors in reference cycles. The collector runs in whichever thread allocates, mostly the
event loop's; freeing a cursor takes its connection's mutex; and a connection whose thread waits for the database's
write lock keeps its mutex for as long as Prefect's busy time-out, 60 s. If the coroutine that holds the write lock has
to be resumed by that same event loop, nothing moves until then: the server hangs, and finally reports `database is
locked`. On a thread of its own the collector may wait without blocking anything else.
"""

from __future__ import annotations

import gc
import threading
import time
from itertools import count

_PAUSE_S = 1.0
_YOUNG, _ALL = 1, 2
"""Generations: garbage of requests is young."""
_EVERY_NTH_ALL = 30
_LOADED_AFTER_NTH = (5, 60)
"""A server is loaded after five seconds, on a busy machine after a minute."""


def collect_aside() -> None:
    """From now on collect garbage only on a thread of its own: young objects every second, all twice a minute."""
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    for nth in count(1):
        time.sleep(_PAUSE_S)
        gc.collect(_YOUNG if nth % _EVERY_NTH_ALL else _ALL)
        if nth in _LOADED_AFTER_NTH:
            # Objects loaded at the start are permanent: scanning them would stop all other threads. Garbage must have
            # gone before: it would be permanent too, and with it the cursors in it, which keep the database from
            # tidying up.
            gc.freeze()
