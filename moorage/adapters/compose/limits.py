"""Limits of memory and of work for a program: what to put before its command, so that it begins with them."""

from __future__ import annotations

import shutil
import sys
from functools import cache

_LIMITED = """
import os, resource, sys
for kind, most in ((resource.RLIMIT_DATA, sys.argv[1]), (resource.RLIMIT_CPU, sys.argv[2])):
    try:
        resource.setrlimit(kind, (int(most), int(most)))
    except (OSError, ValueError):
        pass  # this system does not know it, or does not allow it: the timeout still applies
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(126)
"""


@cache
def limiting(memory_bytes: int, cpu_s: int) -> tuple[str, ...]:
    """What to put before a command so that it begins with limits: `prlimit`, which is quick, else Python.

    Limits that are set from outside may come too late: on a busy machine Compose has read a gigabyte by then. The time
    of processors, because there the clock leaves ten times as much to a file that makes Compose go round in circles.
    """
    import resource

    data = _at_most(resource.getrlimit(resource.RLIMIT_DATA)[1], memory_bytes)
    cpu = _at_most(resource.getrlimit(resource.RLIMIT_CPU)[1], cpu_s)  # both limits: Go takes no notice of SIGXCPU
    if program := shutil.which("prlimit"):
        return (program, f"--data={data}", f"--cpu={cpu}", "--")
    return (sys.executable, "-I", "-S", "-c", _LIMITED, str(data), str(cpu))


def _at_most(allowed: int, wanted: int) -> int:
    """Only root may ask for more than it is allowed, and -1 is no limit."""
    return wanted if allowed < 0 else min(allowed, wanted)
