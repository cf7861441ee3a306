"""When a service is ready: which check to use, what a container's state means, how often to poll."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from moorage.model.base import Frozen
from moorage.model.definition import Check, ReadyCheck, Service
from moorage.model.state import Container, RunOutcome, RunRecord, SpanOutcome
from moorage.rules import graph
from moorage.rules.planning import image_kind

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
SLOWING = 1.5
PORTS = "published ports"
"""Source of the check for a service that has neither a health check nor `x-moorage.ready`."""
_RESTARTS_OF_A_CRASH_LOOP = 3
_YOUNG_S = 60.0
"""A container that has run this long since its last restart is not in a crash loop, however often it was restarted."""
_FRESH_S = 10.0
"""How long the findings of a run are trusted after its end."""

_BY_IMAGE = {
    # Over TCP: while the image initialises its data, PostgreSQL answers only on the Unix socket.
    "postgres": ("sh", "-c", 'pg_isready -q -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}"'),
    # NOAUTH is an answer too: Redis is up, and requires a password.
    "redis": ("sh", "-c", "redis-cli ping | grep -q -e PONG -e NOAUTH"),
    "mysql": ("sh", "-c", "mysqladmin ping -h 127.0.0.1 --silent || mariadb-admin ping -h 127.0.0.1 --silent"),
}


class Way(StrEnum):
    """Ways to find out whether a service is ready."""

    EXEC = "exec"
    """A command in the container: the health check, an exec check, an image-aware check."""
    HTTP = "http"
    TCP = "tcp"
    LOG = "log"
    EXIT = "exit"
    """It must end."""
    STAY = "stay"
    """It must stay up for a moment."""


class Probe(Frozen):
    """How to find out whether one service is ready."""

    way: Way
    command: tuple[str, ...] = ()
    ready: ReadyCheck | None = None
    """The parameters of an http, tcp, log or exit check. None: none are needed."""
    timeout_s: float = 30.0
    """Longest time for one probe."""
    deadline_s: float
    """Longest time until ready."""
    pause_s: float | None = None
    """Fixed pause between two probes. None: short at first, then longer."""
    source: str
    """Where the check comes from, as text."""


class Verdict(Frozen):
    """What a container's state means for its readiness."""

    failed: str = ""
    """`exited`, `oom`, `unhealthy`. Empty: nothing is wrong yet."""
    ended_well: bool = False


def probe_of(
    services: Mapping[str, Service], name: str, container: Container, default_s: float, settle_s: float
) -> Probe:
    """The check to use: one-shot, health check, `x-moorage.ready`, image, published port, staying up."""
    service = services[name]
    ready = service.ready
    limit_s = ready.timeout_s if ready and ready.timeout_s else default_s
    if graph.is_one_shot(services, name):
        return Probe(way=Way.EXIT, ready=ready, deadline_s=limit_s, source="one-shot: must complete")
    if health := container.health_check:
        return Probe(
            way=Way.EXEC,
            command=health.command,
            timeout_s=health.timeout_s,
            deadline_s=health.deadline_s,
            pause_s=health.interval_s if service.probe_at_interval else None,
            source="health check",
        )
    if ready:
        way = Way(ready.check.value)
        source = f"x-moorage.ready.{ready.check}"
        return Probe(way=way, command=ready.command, ready=ready, deadline_s=limit_s, source=source)
    if kind := image_kind(service.image or ""):
        return Probe(way=Way.EXEC, command=_BY_IMAGE[kind], deadline_s=limit_s, source=f"{kind} image")
    if any(port.protocol == "tcp" for port in container.ports):
        check = ReadyCheck(check=Check.TCP)
        return Probe(way=Way.TCP, ready=check, timeout_s=2.0, deadline_s=limit_s, source=PORTS)
    return Probe(way=Way.STAY, deadline_s=limit_s + settle_s, source=f"staying up for {settle_s:g} s")


def judge(service: Service, container: Container | None, probe: Probe, now: datetime) -> Verdict:
    """What the engine's view of a container means for its readiness. `now`: aware."""
    if container is None:
        return Verdict(failed="removed")
    if container.state in ("exited", "dead"):
        return _judge_end(service, container, probe)
    if is_crash_loop(container, now):
        return Verdict(failed="oom" if container.oom_killed else "exited")
    # Between two starts the engine's check fails because there is no process: that says nothing about its health.
    if container.health == "unhealthy" and probe.source == "health check" and container.state != "restarting":
        return Verdict(failed="unhealthy")
    return Verdict()


def found_ready(container: Container, run: RunRecord | None, now: datetime) -> bool:
    """True if `run`, the stack's last one, found the container ready just now, and the engine has not checked it yet.

    Docker checks for the first time after a whole interval of the health check. Until then, our result counts instead.
    """
    if container.health != "starting" or run is None or run.finished_at is None or run.outcome != RunOutcome.COMMITTED:
        return False
    step = f"ready {container.service}"
    looked = next((span for span in run.spans if span.step == step and span.outcome == SpanOutcome.DONE), None)
    if looked is None or container.started_at is None:
        return False
    looked_at = run.started_at + timedelta(seconds=looked.ended_s)
    return container.started_at <= looked_at and (now - run.finished_at).total_seconds() < _FRESH_S


def is_crash_loop(container: Container, now: datetime) -> bool:
    """True if the engine restarts it over and over."""
    if container.restarts < _RESTARTS_OF_A_CRASH_LOOP:
        return False
    return container.state == "restarting" or (container.state == "running" and life_s(container, now) < _YOUNG_S)


def life_s(container: Container, now: datetime) -> float:
    """How long it has been running, or ran before it ended. 0: it never ran."""
    if container.started_at is None:
        return 0.0
    running = container.state in ("running", "paused")
    end = now if running or container.finished_at is None else container.finished_at
    return max(0.0, (end - container.started_at).total_seconds())


def _judge_end(service: Service, container: Container, probe: Probe) -> Verdict:
    wanted = probe.ready.exit_code if probe.ready else 0
    if probe.way == Way.EXIT and container.exit_code == wanted and not container.oom_killed:
        return Verdict(ended_well=True)
    if service.restarts and container.restarts < _RESTARTS_OF_A_CRASH_LOOP and container.state != "dead":
        # Between an exit and the engine's restart; `on-failure` does not restart after exit code 0.
        return Verdict(failed="exited" if container.exit_code == 0 else "")
    return Verdict(failed="oom" if container.oom_killed else "exited")


def pauses(probe: Probe) -> Iterator[float]:
    """Pauses between two probes, in seconds: from 50 ms, each 1.5 times longer, up to 500 ms."""
    pause_s = probe.pause_s or FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = probe.pause_s or min(pause_s * SLOWING, LONGEST_PAUSE_S)
