"""Garbage collection beside SQLite: an event loop must not wait for a connection that waits for the event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from moorage.hub import gc_thread

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
came = []

def write():
    try:
        waiter.execute("begin immediate")
        came.append("got the lock")
    except sqlite3.OperationalError as error:
        came.append(type(error).__name__)  # its words are of whatever the connection did last

writing = threading.Thread(target=write)
writing.start()
time.sleep(0.5)
del left, cycle

kept = []
for _ in range(3000):  # more than a collector waits for
    kept.append([])
    time.sleep(0.0001)
holder.execute("commit")
writing.join()
print(*came)
"""


@pytest.mark.parametrize(
    ("how", "patience_s", "outcome"), [("as ever", 3, "OperationalError"), ("aside", 60, "got the lock")]
)
def test_the_holder_of_the_write_lock_is_not_stopped_by_the_collector(
    tmp_path: Path, how: str, patience_s: int, outcome: str
) -> None:
    """Whom the collector stops lets go of the lock when the waiter has lost its patience, however much it has."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "it.db"), how, str(patience_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == outcome, done.stderr


def test_garbage_goes_before_what_is_loaded_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def sleep(_seconds: float) -> None:
        if done.count("freeze") == 2:
            raise EOFError

    monkeypatch.setattr(gc_thread.time, "sleep", sleep)
    monkeypatch.setattr(gc_thread.gc, "collect", lambda generation: done.append(f"collect {generation}"))
    monkeypatch.setattr(gc_thread.gc, "freeze", lambda: done.append("freeze"))
    with pytest.raises(EOFError):
        gc_thread._collect()
    first = done.index("freeze")
    assert done[first - 1] == "collect 1"
    assert done[-2:] == ["collect 2", "freeze"]
