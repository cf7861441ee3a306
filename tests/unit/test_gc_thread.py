"""Garbage collection beside SQLite: an event loop must not wait for a connection that waits for the event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BUSY_S = 8

# As Prefect's server gets there: a cursor is left in a cycle, its connection waits for the write lock on its own thread,
# and the thread that would let go of the lock collects garbage first.
PROGRAM = """
import gc, sqlite3, sys, threading, time
from moorage.hub import gc_thread

if sys.argv[2] == "aside":
    gc_thread.collect_aside()
gc.collect()
holder, waiter = (sqlite3.connect(sys.argv[1], timeout=float(sys.argv[3]), isolation_level=None, check_same_thread=False)
                  for _ in range(2))
holder.execute("pragma journal_mode = wal")
holder.execute("begin immediate")

left = waiter.execute("values (1), (2)")
cycle = {"cursor": left}
cycle["cycle"] = cycle
writing = threading.Thread(target=waiter.execute, args=("begin immediate",))
writing.start()
time.sleep(0.5)
del left, cycle

began = time.monotonic()
kept = []
while time.monotonic() < began + 2:
    kept.append([])
    time.sleep(0.0001)
holder.execute("commit")
print(time.monotonic() - began)
"""


def seconds_until_the_lock_is_free(path: Path, how: str) -> float:
    command = [sys.executable, "-c", PROGRAM, str(path / "it.db"), how, str(BUSY_S)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return float(done.stdout.split()[0])


@pytest.mark.parametrize(("how", "stands_still"), [("as ever", True), ("aside", False)])
def test_the_holder_of_the_write_lock_is_not_stopped_by_the_collector(
    tmp_path: Path, how: str, stands_still: bool
) -> None:
    assert (seconds_until_the_lock_is_free(tmp_path, how) > BUSY_S / 2) == stands_still
