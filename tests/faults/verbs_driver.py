"""Runs many verbs on one home, and says of each how it ended and what all of them cost: `python -m … < JSON`.

Reads a list of command lines from standard input. Prints a JSON list of {"line", "code", "out", "err", "traceback"},
and what the process used of CPU (seconds) and memory (bytes).
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from moorage.cli import call


def main() -> None:
    """All of them, one after the other; what a verb raises does not end the others."""
    ended = [_ended(line) for line in json.load(sys.stdin)]
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"cpu_s": used.ru_utime + used.ru_stime, "memory": _most_memory()}
    json.dump({"ended": ended, **cost}, sys.stdout)


def _most_memory() -> int:
    """In bytes. `ru_maxrss` has that of the process it was forked from, too, such as a large one of pytest."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def _ended(line: list[str]) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    code, trace = -1, ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = call(line)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it is, it is what the test looks for
            trace = traceback.format_exc()
    return {"line": line, "code": code, "out": out.getvalue(), "err": err.getvalue(), "traceback": trace}


if __name__ == "__main__":
    main()
