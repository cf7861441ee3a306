"""`interfaces.Streams` on a machine in memory. It passes the same contract suite as the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from moorage.interfaces import Streams
from moorage.model.log import LogRecord, LogSpan
from moorage.model.usage import Sample
from moorage.testing.machine import Box, FakeMachine

_MICROSECOND_NS = 1000


class FakeStreams(Streams):
    """Logs of containers in memory. Their programs have written everything as soon as they are started."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def log(
        self, container: str, span: LogSpan, *, follow: bool = False, on_open: Callable[[Callable[[], None]], None]
    ) -> Iterator[LogRecord]:
        """`follow` changes nothing."""
        del follow
        on_open(lambda: None)
        with self.machine.mutex:
            box = self.machine.box(container)
            records = list(_records(box)) if box else []
        tail = records if span.tail is None else records[max(0, len(records) - span.tail) :]
        last_ns = span.until_ns if span.until_ns is not None else float("inf")
        yield from (record for record in tail if (span.since_ns or 0) <= record.at_ns <= last_ns)

    def sample(self, container: str) -> Sample | None:
        """A running container uses a millisecond of CPU and a MiB of memory."""
        with self.machine.mutex:
            box = self.machine.box(container)
            if box is None or not box.running:
                return None
            return Sample(at=self.machine.clock.now(), cpu_ns=10**6, memory_bytes=1 << 20, memory_limit_bytes=1 << 30)


def _records(box: Box) -> Iterator[LogRecord]:
    """Each line a microsecond after the one before; all belong to the last start."""
    began_ns = int(box.started_at.timestamp() * 10**6) * _MICROSECOND_NS if box.started_at else 0
    for number, line in enumerate(box.output):
        yield LogRecord(began_ns + number * _MICROSECOND_NS, "stdout", f"{line}\n".encode())
