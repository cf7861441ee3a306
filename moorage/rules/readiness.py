"""When a service is ready: which check fits, what a container's state means, how fast to ask."""

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
"""Where the check of a service comes from that has neither a health check nor a word on readiness."""
_RESTARTS_OF_A_CRASH_LOOP = 3
_YOUNG_S = 60.0
"""A container that has run for so long since its last restart is out of the loop, however often it was restarted."""
_FRESH_S = 10.0
"""So long after a run's end what it found is believed."""

_BY_IMAGE = {
    # Over TCP: while the image initialises its data, PostgreSQL answers on the Unix socket only.
    "postgres": ("sh", "-c", 'pg_isready -q -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}"'),
    # NOAUTH is an answer too: it is up, and asks for a password.
    "redis": ("sh", "-c", "redis-cli ping | grep -q -e PONG -e NOAUTH"),
    "mysql": ("sh", "-c", "mysqladmin ping -h 127.0.0.1 --silent || mariadb-admin ping -h 127.0.0.1 --silent"),
}


class Way(StrEnum):
    """Ways to find out."""

    EXEC = "exec"
    """A command in the container: the health check, an exec check, an image-aware check."""
    HTTP = "http"
    TCP = "tcp"
    LOG = "log"
    EXIT = "exit"
    """It has to end."""
    STAY = "stay"
    """It has to stay up for a moment."""


class Probe(Frozen):
    """How to find out whether one service is ready."""

    way: Way
    command: tuple[str, ...] = ()
    ready: ReadyCheck | None = None
    """The parameters of an http, tcp, log or exit check. None: none are needed."""
    timeout_s: float = 30.0
    """Longest time for one look."""
    deadline_s: float
    """Longest time until ready."""
    pause_s: float | None = None
    """Fixed pause between two looks. None: quick at first, then slower."""
    source: str
    """Where the check comes from, in words."""


class Verdict(Frozen):
    """What a container's state says."""

    failed: str = ""
    """`exited`, `oom`, `unhealthy`. Empty: nothing is wrong yet."""
    ended_well: bool = False


def probe_of(
    services: Mapping[str, Service], name: str, container: Container, default_s: float, settle_s: float
) -> Probe:
    """The check that fits: one-shot, health check, `x-moorage.ready`, image, published port, staying up."""
    service = services[name]
    ready = service.ready
    limit_s = ready.timeout_s if ready and ready.timeout_s else default_s
    if graph.is_one_shot(services, name):
        return Probe(way=Way.EXIT, ready=ready, deadline_s=limit_s, source="one-shot: has to end well")
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
    # Between two of its lives the engine's check fails for want of a process: that is no verdict on its health.
    if container.health == "unhealthy" and probe.source == "health check" and container.state != "restarting":
        return Verdict(failed="unhealthy")
    return Verdict()


def found_ready(container: Container, run: RunRecord | None, now: datetime) -> bool:
    """True: `run`, the stack's last one, found the container ready a moment ago; the engine has not looked yet.

    Docker's first look comes after a whole interval of the health check. Until then ours counts as its `healthy` would.
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
    """True: the engine restarts it over and over."""
    if container.restarts < _RESTARTS_OF_A_CRASH_LOOP:
        return False
    return container.state == "restarting" or (container.state == "running" and life_s(container, now) < _YOUNG_S)


def life_s(container: Container, now: datetime) -> float:
    """How long it has run, or ran when it ended. 0: it never did."""
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
        # Between an exit and the engine's restart; `on-failure` leaves a good exit as it is.
        return Verdict(failed="exited" if container.exit_code == 0 else "")
    return Verdict(failed="oom" if container.oom_killed else "exited")


def pauses(probe: Probe) -> Iterator[float]:
    """Pauses between two looks, in seconds: from 50 ms, 1.5 times slower each, up to 500 ms."""
    pause_s = probe.pause_s or FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = probe.pause_s or min(pause_s * SLOWING, LONGEST_PAUSE_S)
