"""Forms of readiness: a definition, what its container does, and what comes of it. Counted, because others will come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from moorage.errors import NotReadyError
from moorage.model.definition import Check, HealthCheck, ReadyCheck
from moorage.settings import Settings
from moorage.work.queries import readiness
from moorage.work.runs import wait
from moorage.work.runs.wait import Wait
from tests.properties.lives import NEVER, Life, Play, services

pytestmark = pytest.mark.usefixtures("without_threads_and_time")

HEALTHY, COMPLETED = "service_healthy", "service_completed_successfully"
QUICK = HealthCheck(command=("check",), interval_s=5, timeout_s=2, retries=3)
SLOW = HealthCheck(command=("check",), interval_s=3, timeout_s=60, retries=3)
LATE = HealthCheck(command=("check",), interval_s=5, timeout_s=2, retries=3, start_period_s=30, start_interval_s=1)
RARE = HealthCheck(command=("check",), interval_s=3600, timeout_s=2, retries=3)
ALWAYS = {"restart_policy": "always"}
UNLESS = {"restart_policy": "unless-stopped"}
THREE = {"restart_policy": "on-failure", "most_restarts": 3}
SEVEN = {"restart_policy": "on-failure", "most_restarts": 7}
FAILS, ENDS = Life(0.2, 1), Life(0.2, 0)
PG, REDIS, MY = {"image": "postgres:16"}, {"image": "redis"}, {"image": "mariadb:11"}


def runs(*program: str) -> dict[str, Any]:
    return {"program": program}


def ready(check: str, **more: Any) -> dict[str, Any]:
    return {"ready": ReadyCheck(check=Check(check), **more)}


@dataclass(frozen=True)
class Form:
    """What is written, what happens, what is right."""

    right: str
    """`ready`, `ended`, or the reason why it is not."""
    lives: tuple[Life, ...] = (Life(),)
    web: dict[str, Any] = field(default_factory=dict)
    waiter: str | None = None
    play: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    """Where the check must come from. Empty: it does not matter."""


UP = Life(good_from_s=7)
FORMS = {
    # health checks: as patient as the engine, and no more
    "a check that passes late": Form("ready", (Life(good_from_s=14),), play={"health": QUICK}),
    "a check that never passes": Form("unhealthy", play={"health": QUICK}),
    "three slow probes take their time": Form("ready", (Life(good_from_s=20),), play={"health": SLOW, "probe_s": 10}),
    "slow probes that fail for ever": Form("unhealthy", play={"health": SLOW, "probe_s": 10}),
    "probes that hang": Form("unhealthy", play={"health": QUICK, "probe_s": 60}),
    "failures of the start period do not count": Form("ready", (Life(good_from_s=39),), play={"health": LATE}),
    "after the start period they do": Form("unhealthy", (Life(good_from_s=90),), play={"health": LATE}),
    "the engine looks once an hour": Form("ready", (Life(good_from_s=50),), play={"health": RARE}),
    "a new life begins anew": Form(
        "ready", (Life(13, 1), Life(13, 1), Life(good_from_s=14)), play={"health": QUICK, "container": ALWAYS}
    ),
    "a new life has its own start period": Form(
        "ready", (Life(40, 1), Life(good_from_s=39)), play={"health": LATE, "container": ALWAYS}
    ),
    "ends while its check is waited for": Form("exited", (Life(3, 4),), play={"health": QUICK}),
    "ends well while its check is waited for": Form("exited", (Life(3, 0),), waiter=HEALTHY, play={"health": QUICK}),
    "the definition switches the image's off": Form("ready", web={"health_off": True}, source="staying up for 1 s"),
    # x-moorage.ready beside a health check: both
    "both hold": Form("ready", (UP,), ready("log", pattern="up"), play={"health": QUICK}),
    "the declared one never holds": Form(
        "timeout", (UP,), ready("tcp", port=80, timeout_s=30), play={"health": QUICK, "ports": ((80, NEVER),)}
    ),
    "the health check never holds": Form(
        "unhealthy", web=ready("tcp", port=80), play={"health": QUICK, "ports": ((80, 0),)}
    ),
    "a one-shot needs no health": Form("ended", (Life(3, 0),), ready("exit"), play={"health": QUICK}),
    # declared checks
    "http": Form("ready", (UP,), ready("http"), play={"ports": ((80, 0),)}),
    "log": Form("ready", (UP,), ready("log", pattern="^it is up$")),
    "exec": Form("ready", (UP,), ready("exec", command=("x",))),
    "tcp of every port": Form("timeout", web=ready("tcp", timeout_s=9), play={"ports": ((80, 0), (81, NEVER))}),
    "tcp of one port": Form("ready", web=ready("tcp", port=80), play={"ports": ((80, 3), (81, NEVER))}),
    "ends with 0 before its log line": Form("exited", (ENDS,), ready("log", pattern="up")),
    # published ports: one is enough
    "the only port": Form("ready", play={"ports": ((80, 5),)}, source="published ports"),
    "one of two ports": Form("ready", play={"ports": ((80, NEVER), (81, 5))}),
    "none of two ports": Form("timeout", play={"ports": ((80, NEVER), (81, NEVER))}),
    # ends and policies
    "ends with 0, and nobody waits": Form("ended", (ENDS,)),
    "ends with 0, and somebody waits for its start": Form("ended", (ENDS,), waiter="service_started"),
    "ends with 0, and somebody waits for its end": Form("ended", (ENDS,), waiter=COMPLETED),
    "ends with 0, and somebody waits for its health": Form("exited", (ENDS,), waiter=HEALTHY),
    "ends with 0 after a failure": Form("ended", (FAILS, ENDS), play={"container": THREE}),
    "ends with 0 over and over": Form("exited", (ENDS,) * 9, play={"container": ALWAYS}),
    "ends with 0 over and over, unless stopped": Form("exited", (ENDS,) * 9, play={"container": UNLESS}),
    "ends with 3": Form("exited", (Life(0.2, 3),)),
    "is killed for its memory": Form("oom", (Life(0.2, 137, oom=True),)),
    "succeeds at the last of three tries": Form("ready", (FAILS, FAILS, FAILS, Life()), play={"container": THREE}),
    "three tries are used up": Form("exited", (FAILS,) * 4, play={"container": THREE}),
    "succeeds at the last of seven": Form("ready", (*(FAILS,) * 7, Life()), play={"container": SEVEN}),
    "is started until what it needs is there": Form("ready", (*(FAILS,) * 4, Life()), play={"container": ALWAYS}),
    "a crash loop": Form("exited", (FAILS,) * 20, play={"container": ALWAYS}),
    "is out of memory over and over": Form("oom", (Life(0.2, 137, oom=True),) * 20, play={"container": ALWAYS}),
    # known images: what runs counts more than the name
    "postgres": Form("ready", (UP,), PG, play={"container": runs("docker-entrypoint.sh", "postgres")}),
    "postgres that never answers": Form("timeout", web=PG, source="postgres image"),
    "postgres with options": Form(
        "timeout", web=PG, play={"container": runs("docker-entrypoint.sh", "-c", "fsync=off")}, source="postgres image"
    ),
    "a shell in the image of postgres": Form("ready", web=PG, play={"container": runs("sleep", "infinity")}),
    "a backup from the image of postgres": Form(
        "ended", (ENDS,), PG, play={"container": runs("docker-entrypoint.sh", "pg_dump")}
    ),
    "redis with a file of its own": Form(
        "ready", web=REDIS, play={"container": runs("docker-entrypoint.sh", "redis-server", "/etc/redis.conf")}
    ),
    "redis that only has a socket": Form("ready", web=REDIS, play={"container": runs("redis-server", "--port", "0")}),
    "mariadb on another address": Form(
        "ready", web=MY, play={"container": runs("mariadbd", "--bind-address=10.0.0.9")}
    ),
    "an image of that name without its tools": Form(
        "ready", web={"image": "mycorp/redis"}, play={"codes": {"sh": 127}, "ports": ((80, 5),)}
    ),
    "an image of that name without a shell": Form("ready", web={"image": "mycorp/mysql"}, play={"codes": {"sh": 126}}),
}


@pytest.fixture
def limits(monkeypatch):
    """Time-outs of probes are the play's: it says how long a probe takes."""
    plays: list[Play] = []

    async def at_once(function: Any, timeout_s: float) -> Any:
        plays[-1].limit_s = timeout_s
        return function()

    monkeypatch.setattr(readiness, "in_thread_with_timeout", at_once)
    monkeypatch.setattr(wait, "in_thread_with_timeout", at_once)
    return plays


def what_comes_of(form: Form, plays: list[Play], **settings: Any) -> tuple[str, Wait, Play]:
    play = Play(form.lives, **form.play)
    plays.append(play)
    world = play.world(Settings(settle_s=1, **settings))
    waiting = Wait(world, services(form.web, form.waiter), "web", None)
    try:
        asyncio.run(waiting.until_ready(play.inspect("c")))
    except NotReadyError as error:
        return str(error.fields["reason"]), waiting, play
    return "ended" if waiting.ended else "ready", waiting, play


def test_forms(limits, capsys):
    """Every form comes to what is right."""
    wrong = {}
    for name, form in FORMS.items():
        found, waiting, play = what_comes_of(form, limits)
        container = play.inspect("c")
        probe = wait.readiness.probe_of(waiting.services, "web", container, 60, 1)
        if found != form.right or (form.source and probe.source != form.source):
            wrong[name] = (found, probe.source)
    with capsys.disabled():
        print(f"\nforms of readiness: {len(FORMS) - len(wrong)} right, wrong: {len(wrong)}")
    assert wrong == {}
    assert len(FORMS) >= 30


def test_we_give_up_no_earlier_than_the_engine(limits):
    """Where a health check fails for ever, the engine has called it unhealthy by then, or would have."""
    for health, probe_s in ((QUICK, 0), (QUICK, 1.5), (QUICK, 60), (SLOW, 10), (LATE, 0), (LATE, 1.5)):
        form = Form("unhealthy", play={"health": health, "probe_s": probe_s})
        _, waiting, play = what_comes_of(form, limits)
        took_s = min(probe_s, health.timeout_s)
        least_s = health.start_period_s + health.retries * (health.interval_s + took_s)
        assert play.verdict(Life(), waiting.waited_s + took_s + 1) == "unhealthy"
        assert waiting.waited_s >= least_s - health.interval_s - took_s


def test_where_the_engine_does_not_look_our_failures_count(limits, monkeypatch):
    """An engine whose health checks hang says `starting` for ever; ours are counted as it would count them."""
    monkeypatch.setattr(Play, "verdict", lambda _self, _life, _age_s: "starting")
    found, waiting, _ = what_comes_of(Form("unhealthy", play={"health": QUICK}), limits)
    assert found == "unhealthy"
    assert 15 <= waiting.waited_s < 20


def test_the_other_ports_are_named(limits):
    form = Form("ready", play={"ports": ((80, NEVER), (81, 0), (82, NEVER))})
    assert what_comes_of(form, limits)[1].silent == (80, 82)


def test_wait_timeout_counts_from_the_beginning(limits):
    """However often the engine starts it again."""
    play = Play((Life(7, 1),) * 9, health=QUICK, container=ALWAYS)
    limits.append(play)
    waiting = Wait(play.world(Settings(settle_s=1)), services({}, None), "web", 12.0)
    with pytest.raises(NotReadyError) as caught:
        asyncio.run(waiting.until_ready(play.inspect("c")))
    assert caught.value.fields["reason"] == "timeout"
    assert 12 <= waiting.waited_s < 13


def test_at_the_check_s_own_pace_the_start_interval_counts(limits):
    form = Form("ready", (Life(good_from_s=39),), {"probe_at_interval": True}, play={"health": LATE})
    found, _, play = what_comes_of(form, limits)
    assert found == "ready"
    assert play.asked[:30] == pytest.approx(range(30), abs=0.01)
    assert play.asked[31] - play.asked[30] == pytest.approx(LATE.interval_s)


def test_a_log_that_cannot_be_read_is_no_reason(limits):
    """The exit code is told, and beside it that there is no log."""
    play = Play((Life(0.2, 3),), logs_fail=True)
    limits.append(play)
    waiting = Wait(play.world(Settings(settle_s=1)), services({}, None), "web", None)
    with pytest.raises(NotReadyError, match="ended with exit code 3") as caught:
        asyncio.run(waiting.until_ready(play.inspect("c")))
    assert "does not support reading" in str(caught.value.fields["log"])
