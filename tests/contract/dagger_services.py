"""Services and tunnels of the session of `dagger_server.py`, as an engine v0.21.8 was seen to run them.

A service has no process here, only what others notice of one: whether it listens, is healthy, heeds a SIGTERM, ends.
The names in brackets are those of the engine's source, in `core/`.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import graphql

TRACE = f" [traceparent:{'8a3363a90e36b75e' * 2}-{'fb8de840ef712c7b'}]"
"""What the engine appends to every message."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LOOK_S = 0.01


def told(message: str, **extensions: Any) -> graphql.GraphQLError:
    """An error as the engine tells it."""
    return graphql.GraphQLError(message + TRACE, extensions=extensions or None)


def exec_error(message: str, code: int, stdout: str = "", stderr: str = "", cmd: str = "x") -> graphql.GraphQLError:
    """An error of `withExec` (`ExecError`): its output lacks the last line end."""
    return service_error(message, code, stdout.removesuffix("\n"), stderr.removesuffix("\n"), cmd)


def service_error(message: str, code: int, stdout: str = "", stderr: str = "", cmd: str = "x") -> graphql.GraphQLError:
    """The same of a service or its health check, whose output is as it was printed."""
    output = {"stdout": stdout, "stderr": stderr}
    return told(f"{message}exit code: {code}", _type="EXEC_ERROR", cmd=[cmd], exitCode=code, path=[], **output)


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Conduct:
    """What a service does once it has been started."""

    listens: threading.Event = field(default_factory=_set)
    """Whether its ports accept connections."""
    asked_s: float = 900.0
    """How long the engine asks a port before it gives up (the default of its `backoff`)."""
    healthy: threading.Event = field(default_factory=_set)
    """Whether its health check succeeds."""
    sick: tuple[int, str] | None = None
    """Its health check fails for good, with this code and output."""
    ends: tuple[int, str, str] | None = None
    """It ends as soon as it is started: code, stdout, stderr."""
    cut_off: tuple[str, int | None, str] | None = None
    """It ends in the last try of its health check: message, code and stderr of the error that comes of it."""
    deaf: bool = False
    """It has no handler for SIGTERM, which the kernel then keeps from process 1: only an init passes it on."""


@dataclass
class Running:
    """One started service."""

    name: str
    conduct: Conduct
    init: bool
    ports: tuple[int, ...]
    """Those that the engine asks before the service counts as started."""
    health: tuple[str, ...] | None
    """`Config.Healthcheck.Test`: it is asked instead of the ports."""
    tell: Callable[[str], None]
    settled: threading.Event = field(default_factory=threading.Event)
    """Its start has succeeded or failed."""
    exited: threading.Event = field(default_factory=threading.Event)
    end_of: tuple[int, str, str] = (0, "", "")
    dependents: list[Running] = field(default_factory=list)
    tunnels: list[Tunnel] = field(default_factory=list)

    def wait(self, released: threading.Event) -> None:
        """Until it counts as started (`startContainer`). Raises what the engine would tell."""
        began = time.monotonic()
        if self.health == ("NONE",):
            why = "container does not have a healthcheck command"
            raise told(f"failed to setup docker healthcheck: {why}")
        if self.conduct.ends:
            self.end(*self.conduct.ends)
        while not self._started():
            if self.exited.is_set():
                code, stdout, stderr = self.end_of
                raise service_error("", code, stdout, stderr) if code else told("service exited before healthcheck")
            if released.is_set():
                raise told("session closed during service start")
            if not self.health and time.monotonic() - began >= self.conduct.asked_s:
                why = f"dial tcp 10.87.0.2:{self.ports[0]}: connect: connection refused"
                raise told(f"health check errored: checking for port {self.ports[0]}/tcp: {why}")
            time.sleep(_LOOK_S)

    def _started(self) -> bool:
        if self.health and self.conduct.cut_off:
            message, code, stderr = self.conduct.cut_off
            raise service_error(message, code, stderr=stderr) if code else told(message)
        if self.health and self.conduct.sick:
            raise service_error("health check errored: ", self.conduct.sick[0], stdout=self.conduct.sick[1])
        if self.health:
            return self.conduct.healthy.is_set() and not self.exited.is_set()
        if self.ports:
            return self.conduct.listens.is_set() and not self.exited.is_set()
        return True  # nothing is asked, so that it has ended is not seen either

    def stop(self, kill: bool, released: threading.Event) -> None:
        """SIGTERM, or SIGKILL; then there is no limit to the wait for its end (`stopSvc`).

        Of a service that has not started yet, the end of that start is waited for first (`Services.Stop`).
        """
        while not self.settled.is_set() and not self.exited.is_set() and not released.is_set():
            time.sleep(_LOOK_S)
        if kill or not self.conduct.deaf or self.init:
            self.end(137 if kill else 143)
        while not self.exited.is_set() and not released.is_set():
            time.sleep(_LOOK_S)

    def end(self, code: int, stdout: str = "", stderr: str = "") -> None:
        """It has ended: its tunnels close, and what is bound to it is killed (`stopDueToDependencyExit`)."""
        if self.exited.is_set():
            return
        self.end_of = (code, stdout, stderr)
        self.exited.set()
        for tunnel in self.tunnels:
            tunnel.close()
        for other in self.dependents:
            if not other.exited.is_set():
                self.tell(f"kill {other.name}")
                other.end(137)

    def answer(self, connection: socket.socket) -> None:
        """At the end of a tunnel: it answers any GET, or nothing is heard of it, though the tunnel has accepted."""
        with connection, suppress(OSError):
            while connection.recv(4096):
                if self.conduct.listens.is_set() and not self.exited.is_set():
                    connection.sendall(_ANSWER)
                    connection.shutdown(socket.SHUT_WR)


@dataclass
class Tunnel:
    """Listeners of one tunnel. The client listens: the CLI, or in a session of `dagger run` whoever opened it."""

    upstream: Running
    close_all: list[Callable[[], None]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return bool(self.close_all)

    def close(self) -> None:
        while self.close_all:
            self.close_all.pop()()


def host_of(name: str) -> str:
    """The name that a process of the service sees as its own: under the domain of its session."""
    return f"{name}.{sha256(b'session').hexdigest()[:13]}.dagger.local"


def listen_everywhere(port: int, answer: Callable[[socket.socket], None]) -> Callable[[], None]:
    """Listen as the engine has its clients listen: `bindHost` is a constant, 0.0.0.0. Returns what ends it."""
    try:
        listener = socket.create_server(("0.0.0.0", port), backlog=64)
    except OSError as error:
        raise told(f"host to container: failed to listen: {error.strerror}") from None

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def close() -> None:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    return close


class Attachment:
    """The CLI of a session, as its engine reaches it: it listens and writes log lines where it runs."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rw", encoding="utf-8")
        self._guard = threading.Lock()
        self._number = 0
        self.answers: dict[int, Callable[[socket.socket], None]] = {}

    def listen(self, port: int, answer: Callable[[socket.socket], None]) -> Callable[[], None]:
        """Have the CLI listen; returns what ends it."""
        self._number += 1
        number, self.answers[self._number] = self._number, answer
        if why := self._asked({"listen": port, "id": number}):
            raise told(f"host to container: failed to listen: {why}")

        def close() -> None:
            with suppress(OSError, ValueError):
                self._asked({"close": number})

        return close

    def say(self, line: str) -> None:
        """A line of the CLI's log."""
        with suppress(OSError, ValueError):
            self._asked({"say": line})

    def _asked(self, order: dict[str, Any]) -> str:
        with self._guard:
            self._file.write(json.dumps(order) + "\n")
            self._file.flush()
            return str(json.loads(self._file.readline() or '"the CLI has gone"'))


def health_of(chain: Iterator[tuple[str, dict[str, Any]]], image: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What `Config.Healthcheck.Test` of a container is after the calls of its chain. None: there is none."""
    found = image
    for call, args in chain:
        if call == "withoutDockerHealthcheck":
            found = None
        if call == "withDockerHealthcheck":
            found = ("CMD-SHELL" if args.get("shell") else "CMD", *args["args"])
    return found
