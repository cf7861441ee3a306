"""Garbage collection on a thread of its own, for a process whose event loop shares SQLite connections with threads.

Prefect's server leaves SQLite cursors in reference cycles. The collector runs in whichever thread allocates, mostly the
event loop's; freeing a cursor takes its connection's mutex; and a connection whose thread waits for the database's
write lock keeps its mutex for as long as Prefect's busy time-out, 60 s. When the coroutine that holds the write lock is
to be resumed by that same event loop, nothing moves until then: the server stands still, and at last says `database is
locked`. On a thread of its own the collector may wait; nobody waits for it.
"""

from __future__ import annotations

import gc
import threading
import time
from itertools import count

_PAUSE_S = 1.0
_YOUNG, _ALL = 1, 2
"""Generations: what requests leave behind is young."""
_EVERY_NTH_ALL = 30
_LOADED_AFTER_NTH = 5


def collect_aside() -> None:
    """From now on only a thread of its own collects garbage here: young objects each second, all twice a minute."""
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    for nth in count(1):
        time.sleep(_PAUSE_S)
        if nth == _LOADED_AFTER_NTH:
            gc.freeze()  # what the start has loaded stays: looking through it would stop all other threads
        gc.collect(_YOUNG if nth % _EVERY_NTH_ALL else _ALL)
