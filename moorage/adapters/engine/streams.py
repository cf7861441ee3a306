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
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")
"""Docker writes UTC with nine digits, Podman the time of its own zone with as many digits as there are."""
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
            except (HTTPError, OSError, AttributeError) as error:
                if not closed.is_set():  # after `close`, an error is how the stream ends
                    raise self._engine.unavailable(error) from None
            except ValueError:
                if not closed.is_set():
                    raise
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
        if frame:
            at_ns, data = _stamped(frame)
            yield LogRecord(at_ns, _STREAMS.get(kind, "stdout"), data)


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
            yield from map(_record, _entries(line + b"\n"))
        if len(rest) > _CHUNK:
            *whole, rest = _entries(rest)
            yield from map(_record, whole)
    if _STAMP.match(rest):  # else its beginning is all that has come of it
        yield from map(_record, _entries(rest))


def _entries(line: bytes) -> Iterator[bytes]:
    """The entries of a line, each with its time."""
    while True:
        found = _STAMP.match(line)
        cut = found.end() + _ENTRY if found else len(line)
        if not _STAMP.match(line, cut):
            yield line
            return
        yield line[:cut]
        line = line[cut:]


def _record(entry: bytes) -> LogRecord:
    at_ns, data = _stamped(entry)
    return LogRecord(at_ns, "stdout", data)


def _stamped(entry: bytes) -> tuple[int, bytes]:
    """The time at the beginning of an entry, in nanoseconds, and what follows. Raises ValueError: there is none."""
    found = _STAMP.match(entry)
    if found is None:
        raise ValueError(f"an entry of a log without its time: {entry[:40]!r}")
    second, fraction, zone = found.groups()
    return _seconds(second, zone) * 10**9 + int((fraction or b"").ljust(9, b"0")), entry[found.end() :]


@lru_cache(maxsize=256)
def _seconds(second: bytes, zone: bytes) -> int:
    text = second + (b"+00:00" if zone == b"Z" else zone)
    return int(datetime.fromisoformat(text.decode()).timestamp())
