"""What a forked command has to have of the process that was called for it, beside arguments and environment.

Most of it is handed on, and the forked process takes it over. What it cannot take over has to be the same already, or
the command is not forked. For the list: POSIX, "process attributes"; credentials(7), namespaces(7).
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import Any

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_RIGHTS = ("Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
"""Lines of /proc/self/status (proc(5))."""
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
_CGROUPS = "/sys/fs/cgroup"
_LIMITING = ("memory.max", "memory.high", "cpu.max", "cpuset.cpus")
_LIMITS = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
_WORD_BYTES = 64
_LAST_STREAM = 2
MOST_DESCRIPTORS = 200
"""That are handed on beside the streams; the kernel takes 253 at once (unix(7), SCM_RIGHTS)."""
_OF_ALL_MEMORY = ("RLIMIT_AS", "RLIMIT_DATA")
"""They count what a forked process shares with its template."""


def fixed(package: str) -> list[Any]:
    """What has to be the same; `package`: the file of Moorage's package. Equal as JSON, or nothing is forked."""
    return [
        package,
        sys.executable,
        list(sys.flags),
        sys.warnoptions,
        sorted(map(str, sys._xoptions.items())),  # noqa: SLF001 - documented as CPython's
        sys.getfilesystemencoding(),
        _searched(package),
        [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), sorted(os.getgroups())],
        _root(),
        [_link(f"/proc/self/ns/{name}") for name in _NAMESPACES],
        _rights(),
    ]


def why_not() -> str:
    """Why this process cannot be replaced by a forked one. Empty: it can, as far as it knows itself."""
    if any(stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return "a standard stream is closed"
    if sys.gettrace() or sys.getprofile():
        return "it is being traced"
    if len(inherited()) > MOST_DESCRIPTORS:
        return "it has inherited too many descriptors"
    if any(resource.getrlimit(_LIMITS[name])[0] != resource.RLIM_INFINITY for name in _OF_ALL_MEMORY):
        return "its memory is limited"
    if _is_limited_by_cgroup():
        return "its control group is limited"
    with suppress(OSError):
        if os.tcgetpgrp(0) != os.getpgrp():
            return "the terminal would stop it if it read"
    return ""


def handed_on() -> dict[str, Any]:
    """What the forked process takes over by `take_over`."""
    streams = [getattr(sys, name) for name in ("stdin", "stdout", "stderr")]
    return {
        "arguments": sys.argv,
        "descriptors": inherited(),
        "path": sys.path,
        "limits": {name: resource.getrlimit(number) for name, number in _LIMITS.items()},
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "ignored": [number for number in _signals() if signal.getsignal(number) is signal.SIG_IGN],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "streams": [[one.encoding, one.errors, one.line_buffering, one.write_through] for one in streams],
    }


def can_take_over(given: dict[str, Any]) -> bool:
    """Whether this process may set them: who is not root gets back nothing that was given up."""
    highest = max(given["descriptors"], default=_LAST_STREAM) + MOST_DESCRIPTORS
    if highest >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        return False
    if os.geteuid() == 0:
        return True
    hard = {name: resource.getrlimit(number)[1] for name, number in _LIMITS.items()}
    raised = [name for name, (_, limit) in given["limits"].items() if _more(limit, hard.get(name, limit))]
    return not raised and given["priority"] >= os.getpriority(os.PRIO_PROCESS, 0)


def take_over(given: dict[str, Any]) -> None:
    """Become what was handed on; environment, directory and descriptors are in place. Raises OSError, ValueError."""
    for name, limits in given["limits"].items():
        if name in _LIMITS:
            resource.setrlimit(_LIMITS[name], tuple(limits))
    os.setpriority(os.PRIO_PROCESS, 0, given["priority"])
    if given["processors"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, given["processors"])
    for number in _signals():
        if number in given["ignored"]:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, given["blocked"])
    time.tzset()
    sys.argv[:], sys.path[:] = given["arguments"], given["path"]
    for number, (name, mode) in enumerate((("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))):
        encoding, errors, line_buffering, write_through = given["streams"][number]
        binary = os.fdopen(number, mode, closefd=False)
        text = io.TextIOWrapper(binary, encoding, errors, None, line_buffering, write_through)
        setattr(sys, name, text)


def _signals() -> list[int]:
    kept = (signal.SIGKILL, signal.SIGSTOP, *_PYTHON_IGNORES)
    return [number for number in sorted(signal.valid_signals()) if number not in kept and number < signal.SIGRTMIN]


def _more(limit: int, than: int) -> bool:
    if than == resource.RLIM_INFINITY:
        return False
    return limit == resource.RLIM_INFINITY or limit > than


def inherited() -> list[int]:
    """Descriptors that this process has been given beside its streams; what it opened itself is not inheritable."""
    return [number for number in _open_descriptors() if number > _LAST_STREAM and os.get_inheritable(number)]


def is_free(numbers: list[int], but: list[int]) -> bool:
    """Whether nothing is open here at these numbers, but the descriptors `but`."""
    return not {*_open_descriptors()} - {*but, *range(_LAST_STREAM + 1)} & {*numbers}


def place(descriptors: list[int], numbers: list[int]) -> None:
    """Move open descriptors to these numbers, and let whatever this process starts inherit them."""
    above = max(*descriptors, *numbers) + 1
    moved = [os.dup2(one, above + number, inheritable=False) for number, one in enumerate(descriptors)]
    for one in descriptors:
        os.close(one)
    for one, number in zip(moved, numbers, strict=True):
        os.dup2(one, number)
        os.close(one)


def _open_descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            numbers = [int(name) for name in os.listdir(folder)]  # noqa: PTH208 - without pathlib
            return [number for number in sorted(numbers) if _is_open(number)]  # that of the listing itself is closed
    return []


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_limited_by_cgroup() -> bool:
    """Whether this process's own control group limits what it may use; those around it are the machine's business."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as lines:  # noqa: PTH123 - without pathlib
            path = next((line[3:].strip() for line in lines if line.startswith("0::")), "")
    except OSError:
        return False
    for name in _LIMITING if path.strip("/") else ():
        with suppress(OSError), open(f"{_CGROUPS}{path}/{name}", encoding="utf-8") as file:  # noqa: PTH123
            if file.read(_WORD_BYTES).split()[:1] not in ([], ["max"]):
                return True
    return False


def _searched(package: str) -> list[str]:
    """Where modules come from, but for our own folders, in which hub and worker find the flows."""
    own = (os.path.dirname(package), os.path.dirname(os.path.dirname(package)))  # noqa: PTH120 - without pathlib
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [folder for folder in named if folder and os.path.dirname(folder) not in own and folder not in own]  # noqa: PTH120


def _root() -> list[int]:
    found = os.stat("/")  # noqa: PTH116 - without pathlib
    return [found.st_dev, found.st_ino]


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - without pathlib
    except OSError:
        return ""


def _rights() -> list[str]:
    try:
        with open("/proc/self/status", encoding="utf-8") as lines:  # noqa: PTH123 - without pathlib
            return [line.strip() for line in lines if line.partition(":")[0] in _RIGHTS]
    except OSError:
        return []
