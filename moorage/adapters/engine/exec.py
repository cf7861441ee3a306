"""Runs a program in a container without losing any of its output.

The SDK's `exec_start` reads the engine's answer from the bare socket. Output that arrived in the same packet as the
headers is already in the buffer of `http.client`: on a busy machine the first output of a quick program would be lost.
So this module reads from that buffer.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Protocol

from urllib3.exceptions import ReadTimeoutError

from moorage.errors import EngineError

_PIECE = 1 << 18
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5


def output_of(client: Any, exec_id: str, most_bytes: int = 1 << 24, timeout_s: float | None = None) -> bytes:
    """Start a program created with `exec_create` and return the end of its output, both streams as they come.

    At least the last `most_bytes`, if there are so many, and not much more. Raises TimeoutError if the program has not
    ended after `timeout_s` (None: it may take as long as it likes); it goes on, but nobody listens any more.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    response = client._post_json(  # noqa: SLF001
        client._url("/exec/{0}/start", exec_id),  # noqa: SLF001
        data={"Tty": False, "Detach": False},
        timeout=timeout_s,  # the program may be silent for a long time
        stream=True,
    )
    with closing(response):
        client._raise_for_status(response)  # noqa: SLF001
        connection = client._get_raw_response_socket(response)  # noqa: SLF001
        kept = End(most_bytes)
        try:
            for _, piece in frames(_Patient(response.raw, connection, until)):
                kept.add(piece)
        except (TimeoutError, ReadTimeoutError):
            raise TimeoutError(f"no end within {timeout_s:g} s") from None
    return kept.bytes()


class _Patient:
    """The engine's answer, read until a moment of the monotonic clock. None: for ever."""

    def __init__(self, raw: Any, connection: Any, until: float | None) -> None:
        self._raw = raw
        self._connection = getattr(connection, "_sock", connection)
        self._until = until

    def read(self, size: int) -> bytes:
        if self._until is not None:
            left_s = self._until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._connection.settimeout(left_s)
        found: bytes = self._raw.read(size)
        return found


class End:
    """The end of what is added, in little memory."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept = bytearray()

    def add(self, piece: bytes) -> None:
        """Add a piece; what nobody needs any more is forgotten."""
        self._kept += piece
        if len(self._kept) > 4 * self._most_bytes:
            del self._kept[: -2 * self._most_bytes]  # more than is asked for, so that it can be cut between two lines

    def bytes(self) -> bytes:
        """What was kept."""
        return bytes(self._kept)


class Reader(Protocol):
    """What can be read from, until there is as much as was asked for, or no more comes."""

    def read(self, size: int, /) -> bytes:
        """The bytes; fewer at the end."""


def frames(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """The frames that the engine sends: number of the stream, and bytes."""
    while len(head := reader.read(8)) == 8:
        stream, left = struct.unpack(">BxxxL", head)
        while left and (piece := reader.read(min(left, _PIECE))):
            left -= len(piece)
            yield stream, piece


def exit_code_of(client: Any, exec_id: str, until: float | None = None) -> int:
    """How a program ended whose output has ended; waited for, because the engine learns of its end a moment later.

    It may also have closed its output and go on. `until`: a moment of the monotonic clock. None: as long as it takes.
    Raises TimeoutError, EngineError.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        found = client.exec_inspect(exec_id)
        if not found.get("Running"):
            break
        if until is not None and time.monotonic() >= until:
            raise TimeoutError
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    code = found["ExitCode"]
    if code is None:
        raise EngineError("the engine does not know how the command ended")
    return int(code)
