"""A relay before the engine's socket, for the Docker SDK and for Compose alike: it counts requests, and strikes one.

It speaks as much of HTTP/1.1 as the engine does: bodies with a length, in chunks, or up to the end of the connection;
connections that are kept, and such that become a tunnel (`exec`, `attach`, a build's session). What it does not strike
it passes on as it comes, byte for byte.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENGINE = "/var/run/docker.sock"
HOWS = ("refuse", "drop", "500", "half", "hang", "kill", "late")
"""What can happen to a request:

- refuse: it is not passed on, the connection ends;
- drop: it is done, the connection ends without an answer;
- 500: it is done, the answer says that it failed;
- half: it is done, half of the answer arrives;
- hang: it is not passed on, and there is no answer while the client waits;
- kill: it is done, and the process that is under test gets SIGKILL;
- late: the connection ends, and the request is done some requests later, into whatever its sender does then.
"""
_PIECE = 1 << 16
_MOMENT_S = 0.5
_MOST_HEAD = 1 << 20
_ID = re.compile(
    r"/(containers|networks|volumes|images|exec)/(?!create\b|json\b|load\b|prune\b|get\b|search\b)[^?]*?"
    r"(/(?:start|stop|kill|json|archive|logs|wait|rename|tag|exec|stats|attach|resize|connect|disconnect|"
    r"update|restart|push|top))?$"
)


@dataclass(frozen=True)
class Request:
    """One request that came, in the order of arrival."""

    number: int
    method: str
    path: str
    sender: str
    """`compose` or `sdk`."""

    @property
    def kind(self) -> str:
        """Who asks what, without the names of objects: `sdk POST /containers/X/start`."""
        path = re.sub(r"^/v[\d.]+", "", self.path.partition("?")[0])
        return f"{self.sender} {self.method} {_ID.sub(_without_name, path)}"

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method not in ("GET", "HEAD")


@dataclass(frozen=True)
class Blow:
    """What happens to the `number`th request (from 1)."""

    number: int
    how: str
    delay: int = 0
    """`late`: so many requests that change something come before it."""


def _without_name(found: re.Match[str]) -> str:
    return f"/{found[1]}/X{found[2] or ''}"


class _EndedError(Exception):
    """One of the two ends has closed the connection."""


@dataclass
class _Pipe:
    """One end of a connection, with what was read from it beforehand."""

    socket: socket.socket
    ahead: bytearray = field(default_factory=bytearray)

    def more(self) -> bytes:
        """Whatever comes next. Empty: the other side has ended."""
        if self.ahead:
            piece = bytes(self.ahead)
            self.ahead.clear()
            return piece
        return self.socket.recv(_PIECE)

    def until(self, end: bytes) -> bytes:
        """All up to and with `end`. Raises _EndedError."""
        while (at := self.ahead.find(end)) < 0:
            piece = self.socket.recv(_PIECE)
            if not piece or len(self.ahead) > _MOST_HEAD:
                raise _EndedError
            self.ahead += piece
        found = bytes(self.ahead[: at + len(end)])
        del self.ahead[: at + len(end)]
        return found

    def exactly(self, count: int) -> Iterator[bytes]:
        """So many bytes, in pieces. Raises _EndedError."""
        while count:
            piece = self.more()
            if not piece:
                raise _EndedError
            if len(piece) > count:
                self.ahead[:0] = piece[count:]
                piece = piece[:count]
            count -= len(piece)
            yield piece


@dataclass(frozen=True)
class _Head:
    """Start line and headers."""

    raw: bytes
    method: str = ""
    """Of the request, also in its answer."""

    @property
    def line(self) -> list[str]:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    def header(self, name: str) -> str:
        """Its value, in lower case. Empty: there is none."""
        found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r]*)", self.raw, re.IGNORECASE)
        return found[1].decode("latin-1").lower() if found else ""

    @property
    def length(self) -> int | None:
        """Of the body. None: it goes on until the connection ends."""
        if self._has_no_body:
            return 0
        text = self.header("content-length")
        return int(text) if text else None

    @property
    def _has_no_body(self) -> bool:
        """Whatever its headers say."""
        is_answer, code = self.line[0].startswith("HTTP/"), self.line[1]
        return self.method == "HEAD" or (is_answer and (code.startswith("1") or code in ("204", "304")))

    @property
    def in_chunks(self) -> bool:
        return "chunked" in self.header("transfer-encoding")

    @property
    def is_open(self) -> bool:
        """Whether all that follows this answer is its body, or a tunnel."""
        return self.line[1] == "101" or (self.length is None and not self.in_chunks)

    def body(self, pipe: _Pipe) -> Iterator[bytes]:
        """Its body as it stands on the wire. A request without a length has none."""
        if self.in_chunks:
            while True:
                line = pipe.until(b"\r\n")
                size = int(line.split(b";")[0], 16)
                yield line
                if not size:
                    break
                yield from pipe.exactly(size + 2)
            while (line := pipe.until(b"\r\n")) != b"\r\n":  # trailers
                yield line
            yield line
        elif self.length:
            yield from pipe.exactly(self.length)


class Relay:
    """Listens on `path`; use it in a `with` block. `requests` are those since `begin`."""

    def __init__(self, path: Path, engine: str = ENGINE) -> None:
        self._path, self._engine = path, engine
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._released = threading.Event()
        self._late: list[Callable[[], None]] = []
        self.requests: list[Request] = []
        self.blow: Blow | None = None
        self.struck: Request | None = None
        """The request that was struck. None: as many did not come."""
        self.came_last = False
        """What was late was delivered by `end`: whoever sent it had ended, and can have seen to it no more."""
        self.kill: Callable[[], None] = lambda: None
        """Kills the process under test."""

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self._path}"

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True, name="relay").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.end()
        with self._guard:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def begin(self, blow: Blow | None = None) -> None:
        """Count anew. `blow` None: all goes through."""
        self.end()
        with self._guard:
            self.requests, self.struck, self.blow = [], None, blow
            self._released = threading.Event()

    def end(self) -> None:
        """Strike no more: who hangs is let go, what is late is delivered."""
        with self._guard:
            self.blow = None
            late, self._late = self._late, []
            self.came_last = bool(late)
        self._released.set()
        for deliver in late:
            deliver()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True, name="relay").start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, suppress(OSError, _EndedError):
            with self._guard:
                self._open |= {client, server}
            try:
                server.connect(self._engine)
                ours, theirs = _Pipe(client), _Pipe(server)
                while self._exchange(ours, theirs):
                    pass
            finally:
                with self._guard:
                    self._open -= {client, server}

    def _exchange(self, client: _Pipe, engine: _Pipe) -> bool:
        """One request and its answer. False: the connection is over."""
        raw = client.until(b"\r\n\r\n")
        method, path, _ = _Head(raw).line
        head = _Head(raw, method)
        how = self._arrived(head, method, path)
        if how == "refuse":
            return False
        if how == "hang":
            self._hang(client)
            return False
        if how == "late":
            body = b"".join(head.body(client))
            self._hold(raw + body, method)
            return False
        _pass_on(engine, raw, head.body(client))
        answer = _Head(engine.until(b"\r\n\r\n"), method)
        while answer.line[1] in ("100", "102", "103"):
            client.socket.sendall(answer.raw)
            answer = _Head(engine.until(b"\r\n\r\n"), method)
        if how:
            self._strike(how, client, engine, answer)
            return False
        client.socket.sendall(answer.raw)
        if answer.is_open:
            _tunnel(client, engine)
            return False
        for piece in answer.body(engine):
            client.socket.sendall(piece)
        return "close" not in (head.header("connection"), answer.header("connection"))

    def _arrived(self, head: _Head, method: str, path: str) -> str:
        """Take it down; gives what is to happen to it. Empty: nothing."""
        sender = "sdk" if "docker-sdk-python" in head.header("user-agent") else "compose"
        with self._guard:
            request = Request(len(self.requests) + 1, method, path, sender)
            self.requests.append(request)
            blow = self.blow
            due: list[Callable[[], None]] = []
            if blow and self.struck is None and request.number == blow.number:
                self.struck = request
                return blow.how
            if self.struck and self._late and blow and request.changes:
                since = sum(one.changes for one in self.requests[self.struck.number :])
                if since > blow.delay:
                    due, self._late = self._late, []
        for deliver in due:
            deliver()
        return ""

    def _hang(self, client: _Pipe) -> None:
        """No answer while the client waits for one."""
        client.socket.settimeout(0.1)
        while not self._released.is_set():
            try:
                if not client.socket.recv(_PIECE):
                    return
            except TimeoutError:
                continue

    def _hold(self, raw: bytes, method: str) -> None:
        def deliver() -> None:
            with suppress(OSError, _EndedError), socket.socket(socket.AF_UNIX) as server:
                server.settimeout(30)
                server.connect(self._engine)
                server.sendall(raw)
                engine = _Pipe(server)
                answer = _Head(engine.until(b"\r\n\r\n"), method)
                if not answer.is_open:
                    for _ in answer.body(engine):
                        pass

        with self._guard:
            self._late.append(deliver)

    def _strike(self, how: str, client: _Pipe, engine: _Pipe, answer: _Head) -> None:
        """The request has been done."""
        body = _so_far(engine, answer)
        if how == "kill":
            self.kill()
        elif how == "500":
            text = b'{"message":"made to fail"}\n'
            client.socket.sendall(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n"
                + f"Content-Length: {len(text)}\r\n\r\n".encode()
                + text
            )
        elif how == "half":
            half = answer.raw + body[: len(body) // 2] if body else answer.raw[: len(answer.raw) // 2]
            client.socket.sendall(half)


def _so_far(engine: _Pipe, answer: _Head) -> bytes:
    """The body of an answer. Of one that goes on and on, what has come by the time that nothing more does."""
    engine.socket.settimeout(_MOMENT_S)
    found = bytearray()
    with suppress(_EndedError, TimeoutError):
        if answer.is_open:
            while piece := engine.more():
                found += piece
        for piece in answer.body(engine):
            found += piece
    return bytes(found)


def _pass_on(engine: _Pipe, raw: bytes, body: Iterator[bytes]) -> None:
    """Send a request. An engine that has answered before its end reads no more of it."""
    engine.socket.sendall(raw)
    broken = False
    for piece in body:
        if not broken:
            try:
                engine.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                broken = True


def _tunnel(client: _Pipe, engine: _Pipe) -> None:
    """Pass on both ways until both have ended; an end is passed on too."""

    def pump(source: _Pipe, target: _Pipe) -> None:
        with suppress(OSError):
            while piece := source.more():
                target.socket.sendall(piece)
        with suppress(OSError):
            target.socket.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=pump, args=(client, engine), daemon=True, name="relay")
    back.start()
    pump(engine, client)
    with suppress(OSError):
        client.socket.shutdown(socket.SHUT_RD)
    back.join()


def killer(pid: int) -> Callable[[], None]:
    """Kills a process as `kill -9` does."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    return kill
