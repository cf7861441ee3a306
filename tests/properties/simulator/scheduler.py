"""Processes under one scheduler: one of them runs at a time, and a seed says who goes on at each call.

A process is a thread with an event loop of its own that knows neither real time nor real threads: what waits lets the
clock go on, what would run in a thread runs at once. One that dies stays where it is, as if the kernel had ended it: no
`finally` of its own runs any more. It is let go when the history is over, and then has no effects.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from moorage.testing import Killed, ManualClock

_MOST_TURNS = 40_000
"""A history of a few commands takes a few thousand."""
_CURRENT = threading.local()


def current() -> Process | None:
    """The process that runs in this thread. None: it is none of a simulation."""
    return getattr(_CURRENT, "process", None)


@dataclass
class Actor:
    """Somebody who does one thing after the other, each in a process of its own."""

    name: str
    todo: list[Callable[[], Process]]
    at: Process | None = None


class Scheduler:
    """Owns the clock and the order of everything."""

    def __init__(self, clock: ManualClock, random: Random, restless: float) -> None:
        self.clock = clock
        self.random = random
        self.restless = restless
        """How likely it is that somebody else goes on, from 0 to 1, at each call."""
        self.actors: list[Actor] = []
        self.processes: list[Process] = []
        self.wrong: str | None = None
        """The first thing that was wrong. None: nothing was."""
        self.turns = 0
        self._over = threading.Semaphore(0)

    def run(self, actors: list[Actor]) -> None:
        """Let them do all that they have to do, or until something is wrong."""
        self.actors = actors
        if self._switch():
            self._over.acquire()

    def end(self) -> None:
        """Let go of what has died, one after the other."""
        for process in self.processes:
            process.let_go()

    def fail(self, what: str) -> None:
        """Something is wrong: nothing goes on after that."""
        self.wrong = self.wrong or what

    def turn(self, process: Process) -> None:
        """Perhaps somebody else goes on first."""
        self.turns += 1
        if self.turns > _MOST_TURNS:
            self.fail("endless: it does not come to an end")
            process.die("endless")
        if self.random.random() < self.restless:
            self.hand_on(process)

    def leave_orphan(self, process: Process) -> None:
        """The process dies; a call of its goes on as somebody of its own, and the next command may begin."""
        process.orphan = True
        process.mark_dead()
        for actor in self.actors:
            if actor.at is process:
                actor.at = None
        self.actors.append(Actor(f"orphan of {process.name}", [], process))

    def hand_on(self, process: Process) -> None:
        """Somebody goes on, perhaps the same; returns when it is this one's turn again."""
        if self._switch(process):
            process.wait()

    def leave(self) -> None:
        """Whoever calls this does not go on any more."""
        if not self._switch():
            self._over.release()

    def _switch(self, asking: Process | None = None) -> bool:
        """Let somebody go on. False: the one who asks goes on itself, or nobody is left."""
        chosen = None if self.wrong else self._chosen()
        if chosen is None:
            if asking:
                self._over.release()
            return asking is not None
        if chosen is asking:
            return False
        chosen.go_on()
        return True

    def _chosen(self) -> Process | None:
        """Who goes on; where all wait, time passes. None: nobody is left."""
        living = [process for actor in self.actors if (process := self._at(actor))]
        if not living:
            return None
        ready = [process for process in living if process.wakes_s <= self.clock.monotonic()]
        if not ready:
            first_s = min(process.wakes_s for process in living)
            self.clock.advance(max(0.0, first_s - self.clock.monotonic()))
            ready = [process for process in living if process.wakes_s <= self.clock.monotonic() + 1e-9]
        return ready[self.random.randrange(len(ready))]

    def _at(self, actor: Actor) -> Process | None:
        while actor.at is None or actor.at.over:
            if not actor.todo:
                return None
            actor.at = actor.todo.pop(0)()
            self.processes.append(actor.at)
        return actor.at


@dataclass(eq=False)
class Process:
    """One command, from its start to its end or its death."""

    scheduler: Scheduler
    name: str
    act: Callable[[], Coroutine[Any, Any, Any]] | Callable[[], None]
    """What it does; a coroutine gets an event loop."""
    on_end: Callable[[Process, BaseException | None], None] = lambda _process, _error: None
    on_death: Callable[[Process], None] = lambda _process: None
    over: bool = False
    """It has ended or died."""
    dead: bool = False
    wakes_s: float = 0.0
    loop: Loop | None = None
    task: asyncio.Task[Any] | None = None
    orphan: bool = False
    """It has died, and a call of a child of its goes on."""
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread | None = None

    def go_on(self) -> None:
        """It is its turn."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
            self._thread.start()
        self._go.release()

    def wait(self) -> None:
        """Until it is its turn. Raises Killed: there is none any more."""
        self._go.acquire()
        if self.dead and not self.orphan:
            raise Killed(self.name)

    def sleep(self, seconds: float) -> None:
        """Let others go on meanwhile."""
        self.wakes_s = self.scheduler.clock.monotonic() + seconds
        self.scheduler.hand_on(self)

    def die(self, where: str) -> None:
        """Stay here for ever. Raises Killed, when the history is over."""
        self.mark_dead()
        self.over = True
        self.orphan = False
        self.scheduler.leave()
        self._go.acquire()
        raise Killed(where)

    def mark_dead(self) -> None:
        """Its locks are free; a call of a child of its may go on."""
        if not self.dead:
            self.dead = True
            self.on_death(self)

    def let_go(self) -> None:
        """Let its thread end: all that it asks for from now on is refused."""
        if self._thread is None:
            return
        self.dead, self.orphan = True, False
        self._go.release()
        self._thread.join()

    def _live(self) -> None:
        _CURRENT.process = self
        error: BaseException | None = None
        try:
            self.wait()
            self._do()
        except BaseException as caught:  # noqa: BLE001 - told to whoever judges
            error = caught
        if self.dead and self.over:  # let go
            return
        if not self.dead:
            self.on_end(self, error)
        if self.over:
            return
        self.over = True
        self.scheduler.leave()

    def _do(self) -> None:
        done = self.act()
        if done is None:
            return
        self.loop = Loop(self)
        self.loop.set_exception_handler(lambda *_: None)  # the tasks of the dead are never done
        try:
            self.task = self.loop.create_task(done)
            self.loop.run_until_complete(self.task)
        finally:
            self.loop.close()


class Loop(asyncio.BaseEventLoop):
    """An event loop without a selector: nothing comes from outside but what the scheduler lets come."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._selector = self
        self._work: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
        self._skipped_s = 0.0

    def time(self) -> float:
        """The time of the simulation; the dead do not wait."""
        return self._process.scheduler.clock.monotonic() + self._skipped_s

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What would run in a thread: one after the other, in an order that the seed says."""
        future: asyncio.Future[Any] = self.create_future()
        self._work.append((future, lambda: func(*args)))
        return future

    def select(self, timeout_s: float | None) -> list[Any]:
        """Do what waits for a thread; if there is nothing, let time pass."""
        if self._ready:  # type: ignore[attr-defined]
            return []
        if self._work:
            self._do_one()
        elif self._process.dead:
            if timeout_s is None:
                raise Killed(self._process.name)
            self._skipped_s += timeout_s
        elif timeout_s is None:
            self._process.scheduler.fail(f"stuck: {self._process.name} waits for what never comes")
            self._process.die("stuck")
        elif timeout_s > 0:
            self._process.sleep(timeout_s)
        return []

    def _do_one(self) -> None:
        random = self._process.scheduler.random
        future, work = self._work.pop(0 if self._process.dead else random.randrange(len(self._work)))
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - handed over to the one who waits
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(answer)

    def _process_events(self, _events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody waits for it."""
