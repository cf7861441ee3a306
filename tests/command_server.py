"""Runs `moorage` commands for the tests, each in a process of its own that is forked from one that has the imports.

Prefect takes a second to import, the rest half of one, and the tests run hundreds of commands. A forked command has its
own signals, pipes, environment and working directory, as a started one has; it differs in how its modules came to be
there, for which there is `Project.process`. Prefect's modules are hidden until the command imports Prefect, so that
its settings come from the environment that the command has by then, and Moorage finds no Prefect where it looks for
one.

Protocol, on a Unix socket, one connection a command: JSON {"arguments", "directory", "environment"} with the three
standard streams as file descriptors; answered by the pid, a line, and when it has ended by its exit code, a line.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import struct
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from moorage.hub.hidden_modules import HiddenPrefect, hide

_LENGTH = struct.Struct("!I")
CLOCK_VARIABLE = "TESTS_CLOCK_AHEAD_S"
"""How many seconds the clock of a command is wrong."""
PLANTED_VARIABLE = "TESTS_PLANTED"
"""Of the server: the name of a planted fault that its commands have."""


def main(path: str) -> None:
    """Serve until standard input, a pipe from the tests, is closed; a forked child leaves this as the command does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if planted := os.environ.get(PLANTED_VARIABLE):
        from tests.properties.simulator.mutations import MUTATIONS, Plant

        Plant(next(one for one in MUTATIONS if one.name == planted))
    _import_all()
    hidden = hide("prefect")
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        os.write(1, b"ready\n")
        request = _accepted(listener)
    if request:
        _run(request, hidden)


def _import_all() -> None:
    import prefect.main  # noqa: F401 - to have it imported
    from prefect import flow_engine, task_engine  # noqa: F401 - the same

    import moorage

    for found in pkgutil.walk_packages(moorage.__path__, "moorage."):
        if not found.name.startswith(("moorage.testing", "moorage.__main__")):
            importlib.import_module(found.name)


def _accepted(listener: socket.socket) -> dict[str, Any] | None:
    """In a forked child: what it has to run. In the server: None, when the tests have ended."""
    import select

    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                return _guarded(connection)
        _reap()


def _reap() -> None:
    """Let go of guards that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _guarded(connection: socket.socket) -> dict[str, Any]:
    """Fork the command, and wait for it in between, so that whoever asked learns how it ended."""
    head, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
    left = _LENGTH.unpack(head)[0]
    parts = []
    while left:
        parts.append(connection.recv(left))
        left -= len(parts[-1])
    if pid := os.fork():
        for stream in streams:
            os.close(stream)
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request: dict[str, Any] = json.loads(b"".join(parts))
    return request


def _run(request: dict[str, Any], hidden: dict[str, ModuleType]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    _renew_streams()
    program = Path(sys.executable).with_name("moorage")
    sys.argv[:] = [str(program), *request["arguments"]]
    sys.path[:] = [str(program.parent), *sys.path[1:]]
    sys.meta_path.insert(0, HiddenPrefect(hidden))
    if CLOCK_VARIABLE in os.environ:
        _set_clock(float(os.environ[CLOCK_VARIABLE]))
    from moorage.cli import run_here

    run_here()


def _set_clock(ahead_s: float) -> None:
    """As if somebody had set the machine's clock: Moorage has one place where it reads it."""
    from moorage.adapters.clock import SystemClock

    right = SystemClock.now
    SystemClock.now = lambda self: right(self) + timedelta(seconds=ahead_s)  # type: ignore[method-assign]


def _renew_streams() -> None:
    """The interpreter's streams, as they are at its start: other files may be behind them now."""
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="backslashreplace")


if __name__ == "__main__":
    main(sys.argv[1])
