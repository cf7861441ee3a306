"""An engine behind `ssh://`, reached as Docker's own programs reach it: by `ssh HOST docker system dial-stdio`.

The SDK's way needs another implementation of SSH, which reads neither all of `~/.ssh/config` nor its hardware keys, or
talks to `ssh` through pipes, which cannot be closed for one direction only, as loading a database needs it. So the
program is given one end of a pair of sockets, and the SDK the other.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

import urllib3
import urllib3.connection
from docker.errors import DockerException
from docker.transport.basehttpadapter import BaseHTTPAdapter

from moorage.rules.environments import for_programs

_MOST = 64
"""Connections that are kept at most, as those to a local engine."""
_END_S = 5.0
_MOST_BYTES = 1 << 16
_DIAL = ("system", "dial-stdio")


def command_of(address: str) -> list[str]:
    """What to run for `ssh://user@host:port/path/of/the/socket`: arguments that begin with `-` stay arguments."""
    parts = urlsplit(address)
    user = ["-l", parts.username] if parts.username else []
    port = ["-p", str(parts.port)] if parts.port else []
    at = ["--host", f"unix://{parts.path}"] if parts.path.strip("/") else []
    return ["ssh", "-o", "ConnectTimeout=30", "-T", *user, *port, "--", parts.hostname or "", "docker", *at, *_DIAL]


class SshAdapter(BaseHTTPAdapter):
    """HTTP through `ssh`."""

    def __init__(self, address: str) -> None:
        """Raises DockerException: there is no such program."""
        if shutil.which("ssh") is None:
            raise DockerException("the program `ssh` is not there")
        self._pool = _Pool(address)
        super().__init__()

    def get_connection(self, url: Any, proxies: Any = None) -> urllib3.connectionpool.HTTPConnectionPool:
        """Always to the same engine."""
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """Without a host: no proxy is between."""
        path: str = request.path_url
        return path

    def close(self) -> None:
        """End all connections that are kept."""
        self._pool.close()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, address: str) -> None:
        super().__init__("localhost", maxsize=_MOST)
        self._address = address

    def _new_conn(self) -> _Connection:
        return _Connection(self._address)


class _Program:
    """One `ssh`, until it ends: when the last who has the other end of `socket` closes it."""

    def __init__(self, command: list[str], end: socket.socket) -> None:
        self.complaint = ""
        """The last line that it has complained with, when it has ended."""
        self._complaints: IO[bytes] = TemporaryFile()  # noqa: SIM115 - `_attend` closes it
        self._process = subprocess.Popen(
            command,
            stdin=end.fileno(),
            stdout=end.fileno(),
            stderr=self._complaints,
            env=for_programs(os.environ),
            start_new_session=True,  # Ctrl-C must not end it: the undo needs the engine
        )
        self._attendant = threading.Thread(target=self._attend, daemon=True, name="moorage-ssh")
        self._attendant.start()

    def _attend(self) -> None:
        with self._complaints as file:
            self._process.wait()
            file.seek(0)
            lines = file.read(_MOST_BYTES).decode(errors="replace").strip().splitlines()
            self.complaint = lines[-1] if lines else ""

    def wait(self) -> None:
        """For its end, for a while."""
        self._attendant.join(_END_S)


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, address: str) -> None:
        super().__init__("localhost")
        self._address = address
        self._program: _Program | None = None

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._program = _Program(command_of(self._address), theirs)
        ours.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        self.sock = ours

    def request(self, *asked: Any, **options: Any) -> None:
        with self._explained():
            super().request(*asked, **options)

    def getresponse(self) -> Any:
        with self._explained():
            return super().getresponse()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Why `ssh` has ended is told in its own words."""
        try:
            yield
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            if self._program:
                self._program.wait()
            complaint = self._program.complaint if self._program else ""
            raise ConnectionError(f"ssh: {complaint}" if complaint else str(error)) from None
