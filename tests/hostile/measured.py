"""Runs a command apart and tells what it took, with all that it started.

It starts from a small process: what a process is charged for memory begins with what its parent had.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_CPU_S = 30
MOST_MEMORY_MIB = 300
_LONGEST_S = 240
"""For what would not end by itself; no test says that anything ends sooner."""


@dataclass(frozen=True)
class Taken:
    code: int
    out: str
    err: str
    cpu_s: float
    memory_mib: float
    left: tuple[str, ...]
    """What its folder for temporary files still holds."""


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], beside: Path) -> Taken:
    """Run a command in `folder`; `beside`: an empty folder for its output and its temporary files."""
    temporary = beside / "tmp"
    temporary.mkdir()
    asked = {"command": [*command], "folder": os.fspath(folder), "beside": str(beside)}
    done = subprocess.run(
        [sys.executable, "-S", "-E", __file__, json.dumps(asked)],
        env={**environment, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        check=True,
    )
    code, cpu_s, kib = json.loads(done.stdout)
    out, err = ((beside / name).read_text(errors="replace") for name in ("out", "err"))
    return Taken(code, out, err, cpu_s, kib / 1024, tuple(sorted(one.name for one in temporary.iterdir())))


def _child(command: list[str], folder: str, beside: str) -> tuple[int, float, int]:
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(folder)
        for number, name in ((0, os.devnull), (1, f"{beside}/out"), (2, f"{beside}/err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        limit = 2 * MOST_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        os.execvp(command[0], command)
    signal.signal(signal.SIGALRM, lambda _number, _frame: os.killpg(pid, signal.SIGKILL))
    signal.alarm(_LONGEST_S)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


if __name__ == "__main__":
    print(json.dumps(_child(**json.loads(sys.argv[1]))))
