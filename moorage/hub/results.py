"""Files in which Prefect keeps the exception of each failed run: it never removes them, not even with the run.

They are kept as long as the history of runs, by their own age.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from moorage.hub.hub_home import HubHome

_DAY_S = 86_400
_PAUSE_S = 3600.0


def forget_old(folder: HubHome, days: int) -> None:
    """Remove those older than so many days. 0: none."""
    storage = folder.results
    before = time.time() - days * _DAY_S
    for one in storage.iterdir() if days and storage.is_dir() else ():
        with suppress(OSError):  # another process was here, or the disk has failed: an hour later it is tried again
            if one.is_file() and not one.is_symlink() and one.stat().st_mtime < before:
                one.unlink()


def keep_young(folder: HubHome, days: int) -> None:
    """From now on a thread of this process does so every hour."""
    threading.Thread(target=_keep_young, args=(folder, days), name="results", daemon=True).start()


def _keep_young(folder: HubHome, days: int) -> None:
    while True:
        with suppress(OSError):
            forget_old(folder, days)
        time.sleep(_PAUSE_S)
