"""Lives of a container, played on a clock that only moves while somebody waits, with the engine's own health check.

The engine's verdict is worked out here from the documentation of `HEALTHCHECK`, not by Moorage's rules: it is what
those are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from moorage.errors import EngineError
from moorage.interfaces import World
from moorage.model.definition import HealthCheck, Service
from moorage.model.log import LogRecord
from moorage.model.state import BoundPort, Container
from moorage.settings import Settings
from moorage.testing import FakeMachine, MemoryFiles, MemoryStore, fake_world
from tests.properties.memory import CLOCK

NEVER = 1e9


@dataclass(frozen=True)
class Life:
    """From one start of a container to its end; seconds."""

    lasts_s: float = NEVER
    exit_code: int = 0
    good_from_s: float = NEVER
    """How long after its start its probe, port or log begins to be good."""
    oom: bool = False


@dataclass
class Play:
    """One container and its lives, one after the other; the engine pauses in between."""

    lives: tuple[Life, ...]
    container: dict[str, Any] = field(default_factory=dict)
    health: HealthCheck | None = None
    probe_s: float = 0.0
    """How long a probe takes."""
    ports: tuple[tuple[int, float], ...] = ()
    """Container port → how long after the start of a life it answers."""
    codes: dict[str, int] = field(default_factory=dict)
    """Exit codes of commands that begin with a word, whatever the life is like."""
    logs_fail: bool = False
    pause_s: float = 0.1
    began_s: float = field(default_factory=CLOCK.monotonic)
    limit_s: float = NEVER
    asked: list[float] = field(default_factory=list)
    """When the container was probed, in seconds from its first start."""

    def now(self) -> tuple[int, float]:
        """Number of the life, and how long it has lasted; negative between two lives."""
        left_s = CLOCK.monotonic() - self.began_s
        for number, life in enumerate(self.lives):
            if left_s < life.lasts_s:
                return number, left_s
            left_s -= life.lasts_s
            last = number == len(self.lives) - 1
            if last or left_s < self.pause_s:
                return number, -1.0
            left_s -= self.pause_s
        raise AssertionError("a container has a life")

    # --- the engine

    def inspect(self, _id: str) -> Container:
        number, age_s = self.now()
        life, last = self.lives[number], number == len(self.lives) - 1
        runs, at = age_s >= 0, CLOCK.now()
        starts = sum(one.lasts_s + self.pause_s for one in self.lives[:number])
        began = at - timedelta(seconds=CLOCK.monotonic() - self.began_s - starts)
        state = "running" if runs else "exited" if last else "restarting"
        facts: dict[str, Any] = {
            "id": "c",
            "name": "c",
            "service": "web",
            "state": state,
            "exit_code": None if runs else life.exit_code,
            "oom_killed": life.oom and not runs,
            "restarts": number + (state == "restarting"),
            "started_at": began,
            "finished_at": None if runs and number == 0 else at,
            "health_check": self.health,
            "health": self.verdict(life, age_s) if self.health and runs else None,
            "ports": tuple(
                BoundPort(target=port, protocol="tcp", host_ip="127.0.0.1", published=port) for port, _ in self.ports
            ),
        }
        return Container(**{**facts, **self.container})

    def verdict(self, life: Life, age_s: float) -> str:
        """The engine's word: its n-th probe begins an interval after the end of the one before."""
        check = self.health
        assert check is not None
        at_s, failures = 0.0, 0
        while True:
            early = at_s < check.start_period_s
            at_s += min(check.start_interval_s, check.interval_s) if early else check.interval_s
            took_s = min(self.probe_s, check.timeout_s)
            if at_s + took_s > age_s:
                return "unhealthy" if failures >= check.retries else "starting"
            if self.probe_s <= check.timeout_s and at_s + took_s >= life.good_from_s:
                return "healthy"
            failures += at_s >= check.start_period_s
            at_s += took_s

    def exec(self, _id: str, command: Any, **_how: Any) -> tuple[int, str]:
        _, age_s = self.now()
        self.asked.append(age_s)
        if (code := self.codes.get(command[0])) is not None:
            return code, ""
        CLOCK.advance(min(self.probe_s, self.limit_s))
        if self.probe_s > self.limit_s:
            raise TimeoutError
        number, age_s = self.now()
        return int(age_s < self.lives[number].good_from_s), "not yet"

    def logs(self, _id: str, _tail: int | None) -> str:
        if self.logs_fail:
            message = "configured logging driver does not support reading"
            raise EngineError(message)
        return "what it said\n"

    # --- log and network

    def log(self, _id: str, _span: Any, **_how: Any) -> Iterator[LogRecord]:
        number, age_s = self.now()
        if age_s >= self.lives[number].good_from_s:
            yield LogRecord(0, "stdout", b"it is up\n")

    def tcp(self, _host: str, port: int, _timeout_s: float) -> str | None:
        _, age_s = self.now()
        return None if age_s >= dict(self.ports)[port] else f"{port}: connection refused"

    def http(self, _url: str, _timeout_s: float, _status: int | None) -> str | None:
        number, age_s = self.now()
        return None if age_s >= self.lives[number].good_from_s else "answered 503"

    def world(self, settings: Settings) -> World:
        """A world with nothing but this container."""
        made: Any = self
        world = fake_world(FakeMachine(CLOCK), MemoryStore(), MemoryFiles(), settings=settings)
        return replace(world, engine=made, streams=made, prober=made)


def services(web: dict[str, Any], waiter: str | None) -> dict[str, Service]:
    """The service, and one that waits for it; `waiter`: until when. None: nobody does."""
    found = {"web": Service(name="web", **web)}
    if waiter:
        found["api"] = Service.model_validate({"name": "api", "depends_on": [{"service": "web", "condition": waiter}]})
    return found
