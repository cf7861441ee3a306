"""Hands a flow run, or a command, to the template process, which has Prefect imported and forks it.

As a script, `python -I -S …/warm_start.py SOCKET`, it is what Prefect's worker starts for a run; with nothing but the
standard library, so that it is there at once. To whoever started it, it is the run: it hands over its streams,
environment and directory, passes on signals, ends as the run ends, and the run is killed when it is. Without a template
it becomes what Prefect's worker would have started.

Over the socket: a length and JSON, with descriptors beside them; `+` when it can be begun, `-` when not; `g`, upon
which it begins; numbers of signals; at last a line, `exit N` or `signal N`. Nothing begins that nobody waits for.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from types import FrameType
from typing import Any, Never

LENGTH = struct.Struct("!I")
"""Of a request, which follows it."""
_CREDENTIALS = struct.Struct("3i")
"""Of a peer, as Linux tells them: pid, user, group (unix(7), SO_PEERCRED)."""
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE_S = 10.0
"""For the template to say that it can begin: a busy machine forks late, and importing takes longer still."""


class Handing:
    """A connection to the template process."""

    def __init__(self, path: str, patience_s: float = _PATIENCE_S) -> None:
        """`path`: of the socket. `patience_s`: how long the template may take for each answer."""
        self._path = path
        self._patience_s = patience_s
        self._connection: socket.socket | None = None
        self._early = bytearray()
        self._handlers: dict[int, Any] = {}

    def begin(self, request: dict[str, Any], *descriptors: int, hear: tuple[int, ...] = PASSED_ON) -> bool:
        """Hand a request over, with the standard streams and `descriptors`. False: it is not taken; nothing has begun.

        From now on the signals `hear` are the forked process's, unless it is not taken.
        """
        for number in hear:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._hear)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._patience_s)
        body = json.dumps(request).encode()
        try:
            connection.connect(self._path)
            taken = is_ours(connection)
            if taken:
                socket.send_fds(connection, [LENGTH.pack(len(body))], [0, 1, 2, *descriptors])
                connection.sendall(body)
                taken = connection.recv(1) == b"+"
            if taken:
                connection.sendall(b"g")
        except OSError:
            taken = False
        if not taken:
            connection.close()
            self._give_back()
            return False
        connection.settimeout(None)
        self._connection = connection
        if self._early:
            connection.send(self._early)
        return True

    def attend(self) -> Never:
        """Wait for its end, and end as it does."""
        assert self._connection is not None  # noqa: S101 - it has begun
        said = b""
        while not said.endswith(b"\n") and (part := self._connection.recv(64)):
            said += part
        end(said.decode())

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._connection is None:
            self._early.append(number)
            return
        try:
            self._connection.send(bytes([number]))
        except OSError:
            return  # it has just ended
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)
            self._connection.send(bytes([signal.SIGCONT]))

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._early:
            os.kill(os.getpid(), number)


def main(path: str) -> None:
    """Returns only by ending as the run does."""
    here = os.getcwd()  # noqa: PTH109 - pathlib takes a while to import
    request = {"directory": here, "environment": dict(os.environ), "umask": umask()}
    run = Handing(path)
    if run.begin(request):
        run.attend()
    os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])  # noqa: S606 - there is none


def is_ours(connection: socket.socket) -> bool:
    """Whether it is this user at the other end. Where nobody can be asked who it is, the socket's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.getuid())


def umask() -> int:
    """Of this process."""
    found = os.umask(0o077)
    os.umask(found)
    return found


def end(said: str) -> Never:
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
