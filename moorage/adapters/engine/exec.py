"""Runs a program in a container without losing any of its output.

The SDK's `exec_start` reads the engine's answer from the bare socket. Output that arrived in the same packet as the
headers is already in the buffer of `http.client`: on a busy machine the first output of a quick program would be lost.
So this module reads from that buffer.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import IO, Any

from moorage.errors import EngineError
from moorage.rules.excerpts import end_of

_COMPLAINT = 4096
_STDERR = 2
_PIECE = 1 << 18


def output_of(client: Any, exec_id: str) -> bytes:
    """Start a program created with `exec_create` and return all its output, both streams as they come."""
    response = client._post_json(  # noqa: SLF001
        client._url("/exec/{0}/start", exec_id),  # noqa: SLF001
        data={"Tty": False, "Detach": False},
        timeout=None,  # the program may be silent for a long time
    )
    client._raise_for_status(response)  # noqa: SLF001
    return b"".join(piece for _, piece in _frames(BytesIO(response.content)))


def _frames(reader: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The frames that the engine sends: number of the stream, and bytes."""
    while len(head := reader.read(8)) == 8:
        stream, left = struct.unpack(">BxxxL", head)
        while left and (piece := reader.read(min(left, _PIECE))):
            left -= len(piece)
            yield stream, piece


class Conversation:
    """The connection with one program, from its start to its end."""

    def __init__(self, client: Any, container: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._client = client
        self._command = command
        made = client.exec_create(container, list(command), environment=dict(environment), stdin=True)
        self._id = made["Id"]
        self._response = client._post_json(  # noqa: SLF001 - `exec_start` gives the bare socket
            client._url("/exec/{0}/start", self._id),  # noqa: SLF001
            headers={"Connection": "Upgrade", "Upgrade": "tcp"},
            data={"Tty": False, "Detach": False},
            stream=True,
        )
        client._raise_for_status(self._response)  # noqa: SLF001
        self._reader = self._response.raw._fp.fp  # noqa: SLF001
        self._socket = self._reader.raw._sock  # noqa: SLF001
        self._socket.settimeout(None)  # the program may be silent for a long time
        self._complaints = bytearray()

    def end_input(self) -> None:
        """Tell the program that there is no more input."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def send(self, stdin: Iterable[bytes]) -> None:
        """Send all input. A program may stop reading before the end: its exit code says whether that is an error."""
        with suppress(BrokenPipeError, ConnectionResetError):
            for chunk in stdin:
                self._socket.sendall(chunk)
        self.end_input()

    def output(self) -> Iterator[bytes]:
        """Everything it writes to stdout; the end of its stderr is kept for `check`."""
        for stream, piece in _frames(self._reader):
            if stream == _STDERR:
                self._complain(piece)
            else:
                yield piece

    def answer(self, stdin: Iterable[bytes]) -> None:
        """Send all of stdin while reading what comes back, so that neither side waits for the other."""
        listener = threading.Thread(target=self._listen, daemon=True, name="moorage-exec")
        listener.start()
        self.send(stdin)
        listener.join()

    def _listen(self) -> None:
        with suppress(OSError, ValueError):
            for piece in self.output():
                self._complain(piece)

    def _complain(self, piece: bytes) -> None:
        self._complaints += piece
        del self._complaints[: -2 * _COMPLAINT]  # more than is shown, so that it can be cut between two lines

    def check(self) -> None:
        """Raises EngineError if the program failed, with the end of its output."""
        if code := self._client.exec_inspect(self._id)["ExitCode"]:
            text = end_of(bytes(self._complaints), _COMPLAINT).decode(errors="replace").strip()
            raise EngineError(f"{self._command[-1]}: exit code {code}: {text}", exit_code_of_command=code)

    def close(self) -> None:
        """End the connection."""
        self._response.close()
