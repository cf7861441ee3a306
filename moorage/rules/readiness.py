"""When a service is ready: which check to use, what a container's state means, how often to poll."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from moorage.model.base import Frozen
from moorage.model.definition import Check, HealthCheck, ReadyCheck, Service
from moorage.model.state import Container, RunOutcome, RunRecord, SpanOutcome
from moorage.rules import endings, graph, known_images

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
SLOWING = 1.5
PORTS = "published ports"
"""Source of the check for a service that has neither a health check nor `x-moorage.ready`."""
_YOUNG_S = 60.0
"""A container that has run this long since its last restart is not in a crash loop, however often it was restarted."""
_FRESH_S = 10.0
"""How long the findings of a run are trusted after its end."""


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
    """Longest time from a start of the container until it is ready."""
    paced: bool = False
    """True: probed at the pace of its health check. False: quickly at first, then more slowly."""
    source: str
    """Where the check comes from, as text."""
    health: HealthCheck | None = None
    """The health check that this is. None: it is another check, of which the engine knows nothing."""
    also: Probe | None = None
    """What has to hold besides."""
    instead: Probe | None = None
    """What is asked if the command is not in the container. None: then it is not ready."""

    @property
    def parts(self) -> tuple[Probe, ...]:
        """All checks that have to hold, in the order in which they are asked."""
        return (self, *(self.also.parts if self.also else ()))


class Verdict(Frozen):
    """What a container's state means for its readiness."""

    failed: str = ""
    """`exited`, `oom`, `unhealthy`. Empty: nothing is wrong yet."""
    ended_well: bool = False


def probe_of(
    services: Mapping[str, Service], name: str, container: Container, default_s: float, settle_s: float
) -> Probe:
    """The check to use: one-shot; health check and `x-moorage.ready`; image; published ports; staying up."""
    service = services[name]
    ready = service.ready
    limit_s = ready.timeout_s if ready and ready.timeout_s else default_s
    if graph.is_one_shot(services, name):
        return Probe(way=Way.EXIT, ready=ready, deadline_s=limit_s, source="one-shot: must complete")
    declared = _declared(ready, limit_s) if ready else None
    if health := container.health_check:
        # Both have to hold: the engine, and whatever asks it, goes by the health check alone.
        longest_s = max(health.deadline_s, declared.deadline_s) if declared else health.deadline_s
        return Probe(
            way=Way.EXEC,
            command=health.command,
            timeout_s=health.timeout_s,
            deadline_s=ready.timeout_s if ready and ready.timeout_s else longest_s,
            paced=service.probe_at_interval,
            source="health check",
            health=health,
            also=declared,
        )
    return declared or _guessed(service, container, limit_s, settle_s)


def _declared(ready: ReadyCheck, limit_s: float) -> Probe:
    way, source = Way(ready.check.value), f"x-moorage.ready.{ready.check}"
    return Probe(way=way, command=ready.command, ready=ready, deadline_s=limit_s, source=source)


def _guessed(service: Service, container: Container, limit_s: float, settle_s: float) -> Probe:
    """What may be asked of a service of which the definition says nothing."""
    usual = Probe(way=Way.STAY, deadline_s=limit_s + settle_s, source=f"staying up for {settle_s:g} s")
    if any(port.protocol == "tcp" for port in container.ports):
        check = ReadyCheck(check=Check.TCP)
        usual = Probe(way=Way.TCP, ready=check, timeout_s=2.0, deadline_s=limit_s, source=PORTS)
    if known := known_images.guess(service.image or "", container.program):
        source = f"{known.kind} image"
        return Probe(way=Way.EXEC, command=known.command, deadline_s=limit_s, source=source, instead=usual)
    return usual


def judge(services: Mapping[str, Service], container: Container | None, probe: Probe, now: datetime) -> Verdict:
    """What the engine's view of a container means for its readiness. `now`: aware."""
    if container is None:
        return Verdict(failed="removed")
    if container.state in ("exited", "dead"):
        return _judge_end(services, container)
    if is_crash_loop(container, now):
        return Verdict(failed="oom" if container.oom_killed else "exited")
    # Between two starts the engine's check fails because there is no process: that says nothing about its health.
    if container.health == "unhealthy" and probe.health and container.state != "restarting":
        return Verdict(failed="unhealthy")
    return Verdict()


class Streak(Frozen):
    """Failed probes of one life of a container, counted as the engine counts its own.

    We probe more often than the engine does. A failure counts once per interval, and not within the start period; so
    many as `retries` in a row make the container unhealthy, also where the engine itself looks late, or not at all.
    """

    failures: int = 0
    ended_s: float = 0.0
    """End of the last failure that counted, or the start: in seconds since the start of the container."""

    def after_failure(self, health: HealthCheck, began_s: float, ended_s: float) -> Streak:
        """The streak after a probe that failed; both times count from the container's start."""
        if began_s - self.ended_s < health.pause_s(began_s):
            return self
        starting = began_s < health.start_period_s
        return Streak(failures=self.failures + (not starting), ended_s=ended_s)


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
    if not endings.loops(container):
        return False
    return container.state == "restarting" or (container.state == "running" and life_s(container, now) < _YOUNG_S)


def life_s(container: Container, now: datetime) -> float:
    """How long it has been running, or ran before it ended. 0: it never ran."""
    if container.started_at is None:
        return 0.0
    running = container.state in ("running", "paused")
    end = now if running or container.finished_at is None else container.finished_at
    return max(0.0, (end - container.started_at).total_seconds())


def _judge_end(services: Mapping[str, Service], container: Container) -> Verdict:
    if endings.ended_well(services, container):
        return Verdict(ended_well=True)
    if endings.comes_back(container) and not endings.loops(container) and container.state != "dead":
        return Verdict()
    return Verdict(failed="oom" if container.oom_killed else "exited")


def pauses(probe: Probe) -> Iterator[float]:
    """Pauses between two probes, in seconds: from 50 ms, each 1.5 times longer, up to 500 ms; or as the check says."""
    passed_s, pause_s = 0.0, FIRST_PAUSE_S
    while True:
        if probe.paced and probe.health:
            pause_s = probe.health.pause_s(passed_s)
        yield pause_s
        passed_s, pause_s = passed_s + pause_s, min(pause_s * SLOWING, LONGEST_PAUSE_S)
