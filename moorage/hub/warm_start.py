"""Starts a flow run out of the template process, which has Prefect imported; without one, as Prefect's worker does.

`python -I -S …/warm_start.py SOCKET`, with nothing but the standard library, so that it is there at once. To the worker
it is the run: it hands over its streams, environment and directory, passes on signals, ends as the run ends, and the
run is killed when it is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys

LENGTH = struct.Struct("!I")
"""Of a request, which follows it: JSON {"directory", "environment", "umask"}; with the three standard streams."""
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE_S = 10.0
"""For the template to say that it has begun: a busy machine forks late, and importing takes longer still."""


def main(path: str) -> None:
    """Returns only by ending as the run does."""
    connection = _handed_over(path)
    if connection is None:
        os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])  # noqa: S606 - there is none
    for number in PASSED_ON:
        signal.signal(number, lambda got, _frame: connection.send(bytes([got])))
    said = b""
    while part := connection.recv(64):
        said += part
    _end(said.decode())


def _handed_over(path: str) -> socket.socket | None:
    """The connection to the run, when it has begun. None: there is no template, or it is of other code."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE_S)
    here = os.getcwd()  # noqa: PTH109 - pathlib takes a while to import
    request = {"directory": here, "environment": dict(os.environ), "umask": _umask()}
    body = json.dumps(request).encode()
    try:
        connection.connect(path)
        socket.send_fds(connection, [LENGTH.pack(len(body))], [0, 1, 2])
        connection.sendall(body)
        begun = connection.recv(1) == b"+"
    except OSError:
        begun = False
    if not begun:
        connection.close()  # what may begin there later, ends there
        return None
    connection.settimeout(None)
    return connection


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _end(said: str) -> None:
    """As the run: with its exit code, or by its signal. Nothing was said: who waited for it was killed, and it was."""
    how, _, number = said.partition(" ")
    if how == "exit":
        os._exit(int(number))
    killed_by = int(number) if how == "signal" else signal.SIGKILL
    if killed_by not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(killed_by, signal.SIG_DFL)
    os.kill(os.getpid(), killed_by)
    os._exit(128 + killed_by)


if __name__ == "__main__":
    main(sys.argv[1])
