"""Runs a program in a container on an input, such as the dump of a database, while its output is read."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from moorage.adapters.engine.exec import exit_code_of, frames
from moorage.errors import EngineError
from moorage.rules.excerpts import end_of

T = TypeVar("T")
_COMPLAINT = 4096
_STDERR = 2
_PIECE = 1 << 18


class Conversation:
    """The connection with one program, from its start to its end."""

    def __init__(
        self,
        client: Any,
        container: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: bool = False,
    ) -> None:
        """`stdin`: it has an input, which `answer` sends."""
        self._client = client
        self._command = command
        made = client.exec_create(container, list(command), environment=dict(environment), stdin=stdin)
        self._id = made["Id"]
        self._response = client._post_json(  # noqa: SLF001 - `exec_start` gives the bare socket
            client._url("/exec/{0}/start", self._id),  # noqa: SLF001
            headers={"Connection": "Upgrade", "Upgrade": "tcp"},
            data={"Tty": False, "Detach": False},
            stream=True,
        )
        client._raise_for_status(self._response)  # noqa: SLF001
        if any(name in self._response.headers for name in ("Content-Length", "Transfer-Encoding")):
            # Its end would not be that of the connection, and never come.
            self._response.close()
            raise EngineError("the engine answered the start of a command with something else than its output")
        self._wire = _Wire(self._response)
        self._complaints = bytearray()

    def _send(self, stdin: Iterable[bytes]) -> None:
        """Send all input. A program may stop reading before the end: its exit code says whether that is an error."""
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            for chunk in stdin:
                self._wire.send(chunk)
        with suppress(OSError):
            self._wire.end_input()

    def output(self) -> Iterator[bytes]:
        """Everything it writes to stdout; the end of its stderr is kept for `check`."""
        for stream, piece in frames(self._wire):
            if stream == _STDERR:
                self._complain(piece)
            else:
                yield piece

    def answer(self, stdin: Iterable[bytes]) -> None:
        """Send all of stdin, or as much as the program lives to see, while reading what comes back."""
        listener = threading.Thread(target=self._listen, daemon=True, name="moorage-exec")
        listener.start()
        self._send(stdin)
        listener.join()

    def _listen(self) -> None:
        with suppress(OSError, ValueError):
            for piece in self.output():
                self._complain(piece)

        # A program may close its output and read on. When it has ended nobody reads, and the engine may wait with us.
        with suppress(Exception):
            exit_code_of(self._client, self._id)
        with suppress(OSError):
            self._wire.break_off()

    def _complain(self, piece: bytes) -> None:
        self._complaints += piece
        del self._complaints[: -2 * _COMPLAINT]  # more than is shown, so that it can be cut between two lines

    def check(self) -> None:
        """Raises EngineError if the program failed, with the end of its output. Waits for its end."""
        if code := exit_code_of(self._client, self._id):
            text = end_of(bytes(self._complaints), _COMPLAINT).decode(errors="replace").strip()
            raise EngineError(f"{self._command[-1]}: exit code {code}: {text}", exit_code_of_command=code)

    def close(self) -> None:
        """End the connection."""
        self._response.close()


class _Wire:
    """A connection that one thread reads while another one writes, with TLS or without.

    TLS takes one call at a time, so nobody waits inside of one.
    """

    def __init__(self, response: Any) -> None:
        reader = response.raw._fp.fp  # noqa: SLF001
        self._socket: socket.socket = reader.raw._sock  # noqa: SLF001
        self._socket.setblocking(False)  # the program may be silent for a long time
        self._mutex = threading.Lock()
        self._unread = bytearray()
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            self._unread += reader.peek()  # what came in one packet with the headers

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer if the other side ends before."""
        while len(self._unread) < size and self._when_possible(selectors.EVENT_READ, self._receive):
            pass
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    def send(self, data: bytes) -> None:
        """All of it."""
        left = memoryview(data)
        while left:
            part = left
            left = left[self._when_possible(selectors.EVENT_WRITE, lambda: self._socket.send(part)) :]  # noqa: B023

    def end_input(self) -> None:
        """No more is sent; what the other side sends still arrives.

        By `shutdown`, Python would end TLS in both directions. `unwrap` tells the other side, then looks whether that
        has ended, too; if just then more output comes, the rest of it is lost. How the program ended is not.
        """
        with self._mutex:
            if not isinstance(self._socket, ssl.SSLSocket):
                self._socket.shutdown(socket.SHUT_WR)
                return
            with suppress(ssl.SSLError):
                while self._receive():  # what has come already
                    pass
            with suppress(ssl.SSLError):
                self._socket.unwrap()

    def break_off(self) -> None:
        """End it, also for who is just sending; TLS is not told of it."""
        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _receive(self) -> int:
        """Take what has come; how much that is. 0: the other side has ended."""
        piece = self._socket.recv(_PIECE)
        self._unread += piece
        return len(piece)

    def _when_possible(self, direction: int, call: Callable[[], T]) -> T:
        while True:
            with self._mutex:
                try:
                    return call()
                except BlockingIOError:
                    wanted = direction
                except ssl.SSLWantReadError:
                    wanted = selectors.EVENT_READ
                except ssl.SSLWantWriteError:
                    wanted = selectors.EVENT_WRITE
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, wanted)
                selector.select()
