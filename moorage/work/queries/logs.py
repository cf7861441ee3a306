"""The log of a stack: what its services wrote, merged in time order, and followed through restarts.

A container's log survives its restarts, so a reader that was cut off asks again from a little before the last entry
it has seen, and leaves out what it has seen already: nothing is lost, nothing comes twice.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue

from moorage.errors import EngineError, EngineUnavailableError, MoorageError
from moorage.interfaces import World
from moorage.model.log import LogLine, LogRecord, LogSpan
from moorage.model.state import Container
from moorage.rules.spelling import no_service
from moorage.work.definitions import generations

_SECOND_NS = 10**9
_OVERLAP_NS = 2 * _SECOND_NS
"""How far back a reader asks again: two streams of one container may be a little out of order."""
_LOOK_EVERY_S = 0.3
_HOLD_S = 0.15
"""How long a new line waits for older ones of other services."""
_QUIET_S = 1.5
"""How long nothing may run, and no run be under way, until the log has ended."""
_ENGINE_BACK_S = 30.0
_AFTER_ENGINE_S = 10.0
"""The same when the engine was away: it may start the services again by itself, or somebody may."""
_RUNNING = ("running", "paused", "restarting", "removing")


class ContainerLog:
    """The log of one container: its lines, and where reading is to go on."""

    def __init__(self, world: World, container: Container, span: LogSpan) -> None:
        self.world = world
        self.container = container
        self.span = span
        self.unreadable = ""
        """Why the engine does not give this log. Empty: it does."""
        self._seen: Counter[int] = Counter()
        self._last_ns = 0
        self._floor_ns = span.since_ns - 1 if span.since_ns is not None else -1
        """What is not newer than this is left out: it is before what was asked for."""
        self._parts: dict[str, list[LogRecord]] = {}
        self._guard = threading.Lock()

    @property
    def can_go_on(self) -> bool:
        """Whether `new` finds the place where `past` was cut off."""
        return self.span.tail is None or self._last_ns > 0

    def past(self, *, more: bool) -> Iterator[LogLine]:
        """What is there now. Once, before `new`; `more`: that follows, a line may still get its end."""
        span = self.span._replace(tail=max(self.span.tail, 1)) if self.span.tail is not None else self.span
        records = self._read(span, follow=False)
        for number, record in enumerate(records):
            if number == 0 and self.span.tail is not None:
                self._floor_ns = max(self._floor_ns, record.at_ns)
            self._note(record)
            if self.span.tail != 0:
                yield from self._lines(record)
        if not more or self.container.state not in _RUNNING:
            yield from self._rest()

    def new(self, *, follow: bool, on_open: Callable[[Callable[[], None]], None]) -> Iterator[LogLine]:
        """What has come since; `follow`: until the container ends."""
        with self._guard:
            since_ns = max(self._last_ns - _OVERLAP_NS, self._floor_ns, 0)
            self._seen = Counter({at: n for at, n in self._seen.items() if at >= since_ns})
            known = self._seen.copy()
            span = LogSpan(since_ns=since_ns or None, until_ns=self.span.until_ns)
            for record in self._read(span, follow=follow, on_open=on_open):
                if known[record.at_ns] > 0:
                    known[record.at_ns] -= 1
                elif record.at_ns > self._floor_ns:
                    self._note(record)
                    yield from self._lines(record)
            yield from self._rest()

    def _read(
        self, span: LogSpan, *, follow: bool, on_open: Callable[[Callable[[], None]], None] = lambda _close: None
    ) -> Iterator[LogRecord]:
        try:
            yield from self.world.streams.log(self.container.id, span, follow=follow, on_open=on_open)
        except EngineUnavailableError:
            raise
        except EngineError as error:  # some logging drivers cannot be read
            self.unreadable = str(error)

    def _note(self, record: LogRecord) -> None:
        self._seen[record.at_ns] += 1
        self._last_ns = max(self._last_ns, record.at_ns)

    def _lines(self, record: LogRecord) -> Iterator[LogLine]:
        parts = self._parts.setdefault(record.stream, [])
        parts.append(record)
        if record.data.endswith(b"\n"):
            yield self._joined(self._parts.pop(record.stream))

    def _rest(self) -> Iterator[LogLine]:
        """Last lines without an end."""
        for stream in sorted(self._parts):
            yield self._joined(self._parts.pop(stream))

    def _joined(self, parts: Sequence[LogRecord]) -> LogLine:
        text = b"".join(part.data for part in parts).removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
        one = self.container
        return LogLine(parts[0].at_ns, one.service, one.number, one.name, parts[0].stream, text)


def services_of(world: World, stack: str, names: Iterable[str]) -> tuple[str, ...]:
    """The chosen services (none named: all). Raises DefinitionError that lists those there are."""
    return chosen(stack, names, known_services(world, stack))


def known_services(world: World, stack: str) -> tuple[str, ...]:
    """The services of the current generation, and those that have containers."""
    generation = generations.known(world, stack)
    there = {container.service for container in world.engine.observe(stack).containers}
    return tuple(sorted(there | set(generation.services if generation else ())))


def chosen(stack: str, names: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names, all of them known; none: all known. Raises DefinitionError."""
    for name in names:
        if name not in known:
            raise no_service(name, known, stack)
    return tuple(dict.fromkeys(names)) or tuple(known)


class Logs:
    """The log of some services of a stack."""

    def __init__(
        self,
        world: World,
        stack: str,
        services: Sequence[str],
        span: LogSpan,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self.world = world
        self.stack = stack
        self.services = services
        self.span = span
        self.say = say
        """Is told what the log itself does not: that the engine was away, and why the log ends then."""
        self.cut_off = threading.Event()
        """Somebody who read was, by an engine that went away."""
        self._sources: dict[str, ContainerLog] = {}

    @property
    def unreadable(self) -> dict[str, str]:
        """Service → why the engine does not give its log."""
        return {s.container.service: s.unreadable for s in self._sources.values() if s.unreadable}

    def past(self, *, more: bool = False) -> Iterator[LogLine]:
        """What is there, in time order. `more`: `follow` comes next, and goes on where the engine went away."""
        sources = [self._source(container, self.span) for container in self._containers()]
        return heapq.merge(*(self._past(source, more=more) for source in sources), key=lambda line: line.at_ns)

    def _past(self, source: ContainerLog, *, more: bool) -> Iterator[LogLine]:
        try:
            yield from source.past(more=more)
        except EngineUnavailableError:
            if not (more and source.can_go_on):
                raise
            self.cut_off.set()

    def follow(self) -> Iterator[list[LogLine]]:
        """What comes from now on, in bundles, until the stack has ended; to be called when `past` is through.

        An engine that is being restarted is waited for. Raises EngineUnavailableError when it does not come back.
        """
        yield from _Following(self).bundles()

    def _containers(self) -> list[Container]:
        return [c for c in self.world.engine.observe(self.stack).containers if c.service in self.services]

    def _source(self, container: Container, span: LogSpan) -> ContainerLog:
        return self._sources.setdefault(container.id, ContainerLog(self.world, container, span))


class _Following:
    """Readers, one a running container, and the one who merges what they bring."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._clock = logs.world.clock
        self._lines: SimpleQueue[LogLine] = SimpleQueue()
        self._readers: dict[str, _Reader] = {}
        self._waiting: list[tuple[float, LogLine]] = []
        self._quiet_since: float | None = None
        self._away_since: float | None = None
        self._was_away = False
        """The engine was, and nothing has run since."""

    def bundles(self) -> Iterator[list[LogLine]]:
        looked_at = float("-inf")
        try:
            while True:
                if self._clock.monotonic() - looked_at >= _LOOK_EVERY_S:
                    ended = self._look()
                    looked_at = self._clock.monotonic()
                    if ended:
                        break
                self._collect(_HOLD_S / 2)
                if ready := self._ready():
                    yield ready
        finally:
            for reader in self._readers.values():
                reader.close()
        self._collect(0.0)
        yield [line for _, line in sorted(self._waiting, key=lambda item: item[1].at_ns)]

    def _look(self) -> bool:
        """Start readers where something runs that nobody reads. True: the log has ended."""
        now = self._clock.monotonic()
        try:
            containers = self._logs._containers()  # noqa: SLF001 - two halves of one thing
        except EngineUnavailableError:
            if self._away_since is None:
                self._away_since, self._was_away = now, True
                self._logs.say("the engine does not answer: waiting for it")
            if now - self._away_since > _ENGINE_BACK_S:
                raise
            return False
        was_away = self._away_since is not None
        if was_away or self._logs.cut_off.is_set():
            # A quick restart falls between two looks: only the readers have noticed.
            self._logs.say("the engine answers again" if was_away else "the engine was away and answers again")
            self._away_since, self._was_away = None, True
            self._logs.cut_off.clear()
        for container in containers:
            reader = self._readers.get(container.id)
            if reader is None or reader.may_have_missed(container):
                span = LogSpan(since_ns=self._logs.span.since_ns, until_ns=self._logs.span.until_ns)
                source = self._logs._source(container, span)  # noqa: SLF001
                self._readers[container.id] = _Reader(source, container, self._lines, self._logs.cut_off)
        return self._is_over(containers, now)

    def _is_over(self, containers: Sequence[Container], now: float) -> bool:
        until_ns = self._logs.span.until_ns
        if until_ns is not None and self._clock.now().timestamp() * _SECOND_NS > until_ns + _SECOND_NS:
            return True
        busy = any(reader.is_alive() for reader in self._readers.values())
        runs = any(c.state in _RUNNING for c in containers)
        if busy or runs or self._logs.world.lock(self._logs.stack).held():
            self._quiet_since = None
            self._was_away = self._was_away and not runs
            return False
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        if now - self._quiet_since < (_AFTER_ENGINE_S if self._was_away else _QUIET_S):
            return False
        if self._was_away:
            stack = self._logs.stack
            self._logs.say(
                f"{stack}: the services ended with the engine; `moorage start --name {stack}` brings them back"
            )
        return True

    def _collect(self, wait_s: float) -> None:
        """Take what the readers have brought, for at most so long."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return
            self._waiting.append((self._clock.monotonic(), line))
            if time.monotonic() >= deadline and self._lines.empty():
                return

    def _ready(self) -> list[LogLine]:
        """Lines that have waited long enough, and all that are older than those, in time order."""
        before = self._clock.monotonic() - _HOLD_S
        old = max((line.at_ns for came, line in self._waiting if came <= before), default=None)
        if old is None:
            return []
        ready = [line for _, line in self._waiting if line.at_ns <= old]
        self._waiting = [item for item in self._waiting if item[1].at_ns > old]
        return sorted(ready, key=lambda line: line.at_ns)


class _Reader(threading.Thread):
    """Reads one container's log until it ends, and once more for what came last."""

    def __init__(
        self, source: ContainerLog, container: Container, lines: SimpleQueue[LogLine], cut_off: threading.Event
    ) -> None:
        super().__init__(daemon=True, name=f"moorage-log-{container.name}")
        self._source = source
        self._of_start = container.started_at
        self._lines = lines
        self._cut_off = cut_off
        self._close: Callable[[], None] = lambda: None
        self._closed = False
        self.start()

    def run(self) -> None:
        try:
            for follow in (True, False):
                for line in self._source.new(follow=follow, on_open=self._opened):
                    self._lines.put(line)
        except MoorageError:
            self._of_start = None  # whoever looks next starts another
            self._cut_off.set()

    def may_have_missed(self, container: Container) -> bool:
        """True: it has ended, and the container was started since, or still runs."""
        if self.is_alive() or self._source.unreadable:
            return False
        return container.state in _RUNNING or container.started_at != self._of_start

    def close(self) -> None:
        self._closed = True
        self._close()
        self.join(timeout=1.0)

    def _opened(self, close: Callable[[], None]) -> None:
        self._close = close
        if self._closed:
            close()
