"""Logs of containers, entry by entry, and their resource usage, through the Docker SDK.

The SDK's own `logs` does not tell which stream an entry belongs to, and its times are less precise than the engine's.
So this module uses the layer below it.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from docker.errors import NotFound
from docker.types.daemon import CancellableStream
from urllib3.exceptions import HTTPError

from moorage.adapters.engine.client import DockerEngine
from moorage.adapters.framing import every_call
from moorage.interfaces import Streams
from moorage.model.log import LogRecord, LogSpan
from moorage.model.usage import Sample

_HEADER = struct.Struct(">BxxxL")
_STREAMS = {1: "stdout", 2: "stderr"}
_STAMP = len("2026-01-01T00:00:00.000000000Z ")
_ENTRY = 16 * 1024
"""The engine cuts longer lines into entries of this size."""
_CHUNK = 64 * 1024
_LONGEST_FRAME = 1 << 20
"""Most that is kept of one frame: an entry is much shorter, but its length could say four gigabytes."""
_NEVER = "0001-01-01"


@every_call(lambda adapter: adapter._engine.translating())  # noqa: SLF001 - its own
class DockerStreams(Streams):
    """`Streams` by the Docker SDK. Safe to call from many threads."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def log(
        self, container: str, span: LogSpan, *, follow: bool = False, on_open: Callable[[Callable[[], None]], None]
    ) -> Iterator[LogRecord]:
        with self._engine.speaking():
            client: Any = self._engine.client
            try:
                has_terminal = client.inspect_container(container)["Config"]["Tty"]
                response = client._get(  # noqa: SLF001
                    client._url("/containers/{0}/logs", container),  # noqa: SLF001
                    params=_parameters(span, follow=follow),
                    stream=True,
                )
                client._raise_for_status(response)  # noqa: SLF001
            except NotFound:
                return
            # A log without new entries is not a broken connection.
            client._disable_socket_timeout(client._get_raw_response_socket(response))  # noqa: SLF001
            closed = threading.Event()
            shut = CancellableStream(iter(()), response).close

            def close() -> None:
                closed.set()
                shut()

            on_open(close)
            try:
                yield from _of_terminal(response) if has_terminal else _of_frames(response.raw)
            except (HTTPError, OSError, ValueError, AttributeError) as error:
                if not closed.is_set():  # after `close`, an error is how the stream ends
                    raise self._engine.unavailable(error) from None
            finally:
                response.close()

    def sample(self, container: str) -> Sample | None:
        with self._engine.speaking():
            try:
                raw = self._engine.client.stats(container, stream=False, one_shot=True)
            except NotFound:
                return None
        return _sample(raw)


def _sample(raw: Mapping[str, Any]) -> Sample | None:
    """None: the counters have no time, so the container is not running."""
    if str(raw.get("read", _NEVER)).startswith(_NEVER) or not raw["cpu_stats"]["cpu_usage"].get("total_usage"):
        return None
    memory, networks = raw.get("memory_stats") or {}, raw.get("networks")
    details = memory.get("stats") or {}
    # Same as `docker stats`: the first key is from cgroup v1, the second from v2.
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return Sample(
        at=datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", raw["read"])),
        cpu_ns=raw["cpu_stats"]["cpu_usage"]["total_usage"],
        memory_bytes=max(memory.get("usage", 0) - cache, 0),
        memory_limit_bytes=memory.get("limit"),
        received_bytes=sum(one["rx_bytes"] for one in networks.values()) if networks else None,
        sent_bytes=sum(one["tx_bytes"] for one in networks.values()) if networks else None,
        processes=(raw.get("pids_stats") or {}).get("current"),
    )


def _parameters(span: LogSpan, *, follow: bool) -> dict[str, Any]:
    times = {"since": span.since_ns, "until": span.until_ns}
    return {
        "stdout": 1,
        "stderr": 1,
        "timestamps": 1,
        "follow": int(follow),
        "tail": "all" if span.tail is None else span.tail,
        **{key: f"{ns // 10**9}.{ns % 10**9:09}" for key, ns in times.items() if ns is not None},
    }


def _of_frames(raw: Any) -> Iterator[LogRecord]:
    """Each frame is one entry of one stream."""
    while len(header := raw.read(_HEADER.size)) == _HEADER.size:
        kind, length = _HEADER.unpack(header)
        frame = raw.read(min(length, _LONGEST_FRAME))
        if len(frame) < min(length, _LONGEST_FRAME) or not _skipped(raw, length - len(frame)):
            return  # cut off: the next request gets the whole entry
        if length >= _STAMP:
            yield LogRecord(_nanoseconds(frame), _STREAMS.get(kind, "stdout"), frame[_STAMP:])


def _skipped(raw: Any, left: int) -> bool:
    """Read what nobody wants. False: it was cut off."""
    while left > 0 and (piece := raw.read(min(left, _LONGEST_FRAME))):
        left -= len(piece)
    return left <= 0


def _of_terminal(response: Any) -> Iterator[LogRecord]:
    """The output of a terminal has no frames: an entry ends with its line, or after 16 KiB."""
    rest = b""
    for chunk in response.iter_content(None):
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield from _entries(line + b"\n")
        if len(rest) > _CHUNK:
            *whole, last = _entries(rest)
            yield from whole
            rest = rest[len(rest) - len(last.data) - _STAMP :]
    if rest:
        yield from _entries(rest)


def _entries(line: bytes) -> Iterator[LogRecord]:
    while len(line) >= _STAMP:
        at_ns, line = _nanoseconds(line), line[_STAMP:]
        goes_on = len(line) > _ENTRY and _is_stamp(line[_ENTRY : _ENTRY + _STAMP])
        data = line[:_ENTRY] if goes_on else line
        yield LogRecord(at_ns, "stdout", data)
        line = line[len(data) :]


def _is_stamp(text: bytes) -> bool:
    return len(text) == _STAMP and text.endswith(b"Z ") and text[4:5] == text[7:8] == b"-" and text[10:11] == b"T"


def _nanoseconds(entry: bytes) -> int:
    """The time at the beginning of an entry; the engine writes it in UTC, with nine digits."""
    return _seconds(entry[:19]) * 10**9 + int(entry[20:29])


@lru_cache(maxsize=256)
def _seconds(text: bytes) -> int:
    return int(datetime.fromisoformat(f"{text.decode()}+00:00").timestamp())
