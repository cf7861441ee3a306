"""The tests' side of `command_server`: one server a test process, started when the first command is run."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
_LENGTH = struct.Struct("!I")
Ended = tuple[int, str, str]
"""Exit code, what it wrote to stdout, to stderr."""


class CommandServer:
    """Starts with the first command; `stop` ends it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._server: subprocess.Popen[bytes] | None = None

    def run(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        timeout_s: float,
        began: Callable[[int], None] = lambda _pid: None,
    ) -> Ended:
        """Run `moorage ARGUMENTS` to its end; `began` is told its pid. Raises subprocess.TimeoutExpired, and then it is
        killed."""
        with self._connection() as connection, ThreadPoolExecutor(2) as readers:
            said = [readers.submit(_all_of, end) for end in self._begin(connection, arguments, directory, environment)]
            connection.settimeout(timeout_s)
            answer = connection.makefile()
            pid = int(answer.readline())
            began(pid)
            try:
                code = int(answer.readline())
                out, err = (one.result(timeout_s) for one in said)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["moorage", *arguments], timeout_s) from None
        return code, out, err

    def stop(self) -> None:
        """End the server; commands that still run go on."""
        if self._server and self._server.stdin:
            self._server.stdin.close()
            self._server.wait()

    def _connection(self) -> socket.socket:
        with self._lock:
            if self._server is None:
                self._server = self._start()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._path))
        return connection

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.command_server", str(self._path)]
        server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdout
        with server.stdout as ready:
            assert ready.readline() == b"ready\n", "the command server does not start"
        return server

    @staticmethod
    def _begin(
        connection: socket.socket, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> list[int]:
        """Hand the command over; gives the ends of its stdout and stderr that can be read."""
        request = {"arguments": arguments, "directory": str(directory), "environment": dict(environment)}
        body = json.dumps(request).encode()
        pipes = [os.pipe(), os.pipe()]
        given = [os.open(os.devnull, os.O_RDONLY), *(end for _, end in pipes)]
        try:
            socket.send_fds(connection, [_LENGTH.pack(len(body))], given)
            connection.sendall(body)
        finally:
            for end in given:
                os.close(end)
        return [end for end, _ in pipes]


def _all_of(end: int) -> str:
    with os.fdopen(end, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()
