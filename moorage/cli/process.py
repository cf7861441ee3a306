"""The process of a command: what makes a short one quick, from its first import to its end.

Measured with `moorage ls` (processor time, median of 15 alternating calls): 364 ms; without the threshold 393 ms;
without both (threshold, `os._exit`) 466 ms.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Never

hung_threads = threading.Event()
"""Set: a thread hangs in a call to Prefect. The process must end without waiting for it."""


def begin() -> None:
    """Prepare the process: garbage, signals, streams."""
    # Most of a short command is imports, whose objects never become garbage: the collector need not look at them.
    gc.set_threshold(100_000, 20, 20)
    # Asked to end, a command ends as with Ctrl-C; a run takes both signals over and undoes what it did.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us, as in `moorage up >&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as we live
        with suppress(AttributeError, ValueError):  # not ours
            getattr(sys, name).reconfigure(errors="replace")


def end(code: int) -> Never:
    """End the process, with what it wrote written.

    Without Prefect, whose log is sent on the way out, nothing is left to be done then. With it, neither if a thread
    hangs in a call to a Prefect that is silent.
    """
    if "prefect" in sys.modules and not hung_threads.is_set():
        with suppress(KeyboardInterrupt):  # the work is done, and whoever asked does not want to wait for its log
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing ends a process
            atexit._run_exitfuncs()  # noqa: SLF001
    # What Python does besides, taking all objects apart, takes a tenth of a second where Prefect is among them.
    os._exit(_written() or code)


def _written() -> int:
    """Flush stdout and stderr; returns 1 and prints an error if that fails, as GNU programs do."""
    code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):  # its reader has gone, or it is closed
            continue
        except OSError as error:
            code = 1
            with suppress(OSError, ValueError):
                sys.stderr.write(f"moorage: write error: {error.strerror}\n")
    return code
