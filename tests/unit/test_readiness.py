"""Which check fits, what a container's state means, how fast to ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from moorage.model.definition import Check, Dependency, HealthCheck, ReadyCheck, Service
from moorage.model.state import BoundPort, Container, RunRecord, Span
from moorage.model.step import StepKind
from moorage.rules import readiness
from moorage.rules.readiness import Way

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEALTH = HealthCheck(command=("true",), interval_s=5, retries=3, start_period_s=10, timeout_s=2)


def container(**keys: Any) -> Container:
    return Container(**{"id": "c", "name": "c", "service": "web", "state": "running", **keys})


def probe(service: Service, found: Container | None = None, **others: Service) -> readiness.Probe:
    return readiness.probe_of({"web": service, **others}, "web", found or container(), 60.0, 1.0)


def test_the_health_check_comes_first() -> None:
    found = probe(Service(name="web"), container(health_check=HEALTH))
    assert (found.way, found.command, found.timeout_s) == (Way.EXEC, ("true",), 2)
    assert found.deadline_s == 10 + 3 * (5 + 2)
    assert found.parts == (found,)


@pytest.mark.parametrize(("timeout_s", "deadline_s"), [(None, 60), (7, 7), (300, 300)])
def test_beside_a_health_check_what_the_definition_says_has_to_hold_too(timeout_s, deadline_s) -> None:
    declared = ReadyCheck(check=Check.TCP, timeout_s=timeout_s)
    found = probe(Service(name="web", ready=declared), container(health_check=HEALTH))
    assert [part.way for part in found.parts] == [Way.EXEC, Way.TCP]
    assert found.deadline_s == deadline_s


def test_then_what_the_definition_says() -> None:
    found = probe(Service(name="web", image="postgres", ready=ReadyCheck(check=Check.LOG, pattern="up", timeout_s=7)))
    assert (found.way, found.deadline_s) == (Way.LOG, 7)


def test_then_what_the_image_is_known_for() -> None:
    assert "pg_isready" in probe(Service(name="web", image="postgres:17")).command[2]


def test_then_published_ports() -> None:
    port = BoundPort(target=80, protocol="tcp", host_ip="127.0.0.1", published=8000)
    assert probe(Service(name="web"), container(ports=(port,))).way == Way.TCP


def test_else_it_has_to_stay_up_for_a_moment() -> None:
    port = BoundPort(target=53, protocol="udp", host_ip="127.0.0.1", published=8053)
    assert probe(Service(name="web"), container(ports=(port,))).way == Way.STAY


def test_a_one_shot_has_to_end_even_with_a_health_check() -> None:
    waits = Service(
        name="api",
        depends_on=(Dependency.model_validate({"service": "web", "condition": "service_completed_successfully"}),),
    )
    assert probe(Service(name="web"), container(health_check=HEALTH), api=waits).way == Way.EXIT


@pytest.mark.parametrize(
    ("keys", "policy", "failed"),
    [
        ({"state": "exited", "exit_code": 3}, "no", "exited"),
        ({"state": "exited", "exit_code": 0}, "no", ""),
        ({"state": "exited", "exit_code": 0}, "on-failure", ""),
        ({"state": "exited", "exit_code": 0, "oom_killed": True}, "no", "oom"),
        ({"state": "exited", "exit_code": 137, "oom_killed": True}, "no", "oom"),
        ({"state": "exited", "exit_code": 1}, "always", ""),
        ({"state": "exited", "exit_code": 1}, "on-failure", ""),
        ({"state": "exited", "exit_code": 1, "restarts": 2, "most_restarts": 2}, "on-failure", "exited"),
        ({"state": "running", "exit_code": 1, "restarts": 9, "most_restarts": 9}, "on-failure", ""),
        ({"state": "running", "exit_code": 1, "restarts": 10, "most_restarts": 99}, "on-failure", "exited"),
        ({"state": "restarting", "restarts": 1}, "always", ""),
        ({"state": "running", "restarts": 5}, "always", "exited"),
        ({"state": "running", "restarts": 5, "started_at": NOW - timedelta(seconds=59)}, "always", "exited"),
        ({"state": "running", "restarts": 5, "started_at": NOW - timedelta(seconds=61)}, "always", ""),
        ({"state": "running", "health": "unhealthy"}, "no", "unhealthy"),
        ({"state": "restarting", "health": "unhealthy", "restarts": 1}, "always", ""),
        ({"state": "restarting", "health": "unhealthy", "restarts": 5}, "unless-stopped", "exited"),
        ({"state": "running", "health": "starting"}, "no", ""),
        ({"state": "created"}, "no", ""),
        ({"state": "dead", "exit_code": 1}, "always", "exited"),
    ],
)
def test_what_a_state_means(keys: dict[str, Any], policy: str, failed: str) -> None:
    found = container(health_check=HEALTH, restart_policy=policy, **keys)
    service = Service(name="web")
    assert readiness.judge({"web": service}, found, probe(service, found), NOW).failed == failed


def test_a_container_that_is_gone_has_failed() -> None:
    service = Service(name="web")
    assert readiness.judge({"web": service}, None, probe(service), NOW).failed == "removed"


@pytest.mark.parametrize(("code", "well"), [(0, True), (1, False)])
def test_the_end_of_a_one_shot(code: int, well: bool) -> None:
    service = Service(name="web", ready=ReadyCheck(check=Check.EXIT))
    found = container(state="exited", exit_code=code)
    assert readiness.judge({"web": service}, found, probe(service, found), NOW).ended_well is well


def test_questions_come_quickly_at_first_then_slower() -> None:
    # A database that is restored takes its time: an hour has 7,200 looks.
    pauses = list(islice(readiness.pauses(probe(Service(name="web"))), 10_000))
    assert pauses[0] == pytest.approx(0.05)
    assert pauses[1] == pytest.approx(0.075)
    assert pauses[-1] == pytest.approx(0.5)


def test_a_check_with_side_effects_keeps_its_pace() -> None:
    found = probe(Service(name="web", probe_at_interval=True), container(health_check=HEALTH))
    assert list(islice(readiness.pauses(found), 2)) == [5, 5]


def a_run(
    outcome: str | None = "committed", ended_s: float = 3.0, span: str = "done", service: str = "web"
) -> RunRecord:
    """One that began eight seconds ago, found `service` ready after two, and ended after three."""
    ready = Span(step=f"ready {service}", kind=StepKind.READY, service=service, began_s=1, ended_s=2, outcome=span)
    began = NOW - timedelta(seconds=8)
    ended = None if outcome is None else began + timedelta(seconds=ended_s)
    return RunRecord(
        id="1",
        stack="s",
        operation="up",
        pid=1,
        host="h",
        started_at=began,
        finished_at=ended,
        outcome=outcome,
        spans=(ready,),
    )


@pytest.mark.parametrize(
    ("keys", "run", "found"),
    [
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, a_run(), True),
        ({"health": "unhealthy", "started_at": NOW - timedelta(seconds=7)}, a_run(), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=5)}, a_run(), False),
        ({"health": "starting", "started_at": None}, a_run(), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, a_run(ended_s=-3), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, a_run(outcome=None), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, a_run(outcome="undone"), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, a_run(span="failed"), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, a_run(service="db"), False),
        ({"health": "starting", "started_at": NOW - timedelta(seconds=7)}, None, False),
    ],
)
def test_what_the_last_run_found_counts_until_the_engine_has_looked(
    keys: dict[str, Any], run: RunRecord | None, found: bool
) -> None:
    assert readiness.found_ready(container(state="running", **keys), run, NOW) is found
