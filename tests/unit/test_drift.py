"""Drift: what counts as such, what was stopped on purpose, how often mending is tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from moorage.model.definition import Dependency, PortMapping, Service, Source
from moorage.model.generation import Generation, PinnedImage
from moorage.model.health import CheckResult, DriftKind, HealState
from moorage.model.state import BoundPort, Container, Observed, RunRecord
from moorage.rules import drift, labels

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOME = "0123456789ab"
OURS = {labels.STACK: "shop", labels.HOME: HOME}
SERVICES = {
    "db": Service(name="db", image="postgres"),
    "web": Service(
        name="web",
        image="web",
        ports=(PortMapping(service="web", target=80, wanted=8000),),
        depends_on=(Dependency(service="db"),),
    ),
}
GENERATION = Generation(
    stack="shop",
    number=3,
    source=Source(directory="/shop"),
    config={
        "services": {"db": {}, "web": {"ports": [{"target": 80, "published": "8000", "host_ip": "127.0.0.1"}]}},
    },
    services=SERVICES,
    images={
        name: PinnedImage(service=name, reference=name, image_id=f"sha256:{name}", tag=f"t/{name}") for name in SERVICES
    },
    digests={"db": "d1", "web": "d2"},
    created_at=NOW,
)
PORT = BoundPort(target=80, protocol="tcp", host_ip="127.0.0.1", published=8000)


def container(name, **facts):
    given = {
        "id": f"{name}-id",
        "name": f"shop-{name}-1",
        "service": name,
        "state": "running",
        "image_id": f"sha256:{name}",
        "digest": GENERATION.digests.get(name, ""),
        "ports": (PORT,) if name == "web" else (),
        "started_at": NOW - timedelta(hours=1),
        "labels": OURS,
        **facts,
    }
    return Container(**given)


def found(*containers, failing=(), asleep=()):
    checks = [
        CheckResult(service=name, container=name, state="x", ready=False, check="check", message="no answer")
        for name in failing
    ]
    observed = Observed(stack="shop", containers=containers)
    drifted = drift.drifts(GENERATION, observed, checks, asleep, home=HOME, now=NOW)
    return [(one.service, one.kind) for one in drifted]


def run(operation, minutes_ago=0, outcome="committed", **arguments):
    at = NOW - timedelta(minutes=minutes_ago)
    made = RunRecord(
        id=f"{operation}{minutes_ago}",
        stack="shop",
        operation=operation,
        pid=1,
        host="h",
        started_at=at,
        finished_at=at,
        outcome=outcome,
        arguments=arguments,
    )
    return made.head


def test_as_it_should_be():
    assert found(container("db"), container("web")) == []


@pytest.mark.parametrize(
    ("web", "failing", "kind"),
    [
        ({"state": "exited", "exit_code": 137, "ports": ()}, ["web"], DriftKind.DOWN),
        ({"state": "created", "started_at": None, "ports": ()}, ["web"], DriftKind.DOWN),
        ({"state": "paused"}, ["web"], DriftKind.DOWN),
        ({}, ["web"], DriftKind.NOT_READY),
        ({"image_id": "sha256:other"}, [], DriftKind.IMAGE),
        ({"digest": "d0"}, [], DriftKind.CONFIG),
        ({"ports": ()}, [], DriftKind.PORT),
        ({"labels": {}}, [], DriftKind.FOREIGN),
        ({"labels": {**OURS, labels.HOME: "another"}}, [], DriftKind.FOREIGN),
        ({"state": "restarting", "restarts": 5, "ports": ()}, ["web"], DriftKind.CRASH_LOOP),
        ({"restarts": 9, "started_at": NOW - timedelta(seconds=5)}, [], DriftKind.CRASH_LOOP),
    ],
)
def test_one_thing_is_not(web, failing, kind):
    assert found(container("db"), container("web", **web), failing=failing) == [("web", kind)]


def test_a_container_is_gone():
    assert found(container("db"), failing=["web"]) == [("web", DriftKind.DOWN)]


def test_one_that_has_only_just_begun_may_take_its_time():
    young = container("web", started_at=NOW - timedelta(seconds=3))
    assert found(container("db"), young, failing=["web"]) == []


def test_restarts_of_long_ago_are_no_loop():
    assert found(container("db"), container("web", restarts=9)) == []


def test_more_than_there_should_be():
    extra = container("old", labels={})
    assert found(container("db"), container("web"), container("web", id="2", number=2), extra) == [
        ("web", DriftKind.EXTRA),
        ("old", DriftKind.EXTRA),
    ]


def test_stopped_on_purpose():
    down = container("web", state="exited", exit_code=0, ports=())
    assert found(container("db"), down, asleep=["web"]) == []


@pytest.mark.parametrize(
    ("runs", "asleep"),
    [
        ([run("up")], set()),
        ([run("stop"), run("up")], {"db", "web"}),
        ([run("stop", services=["web"]), run("up")], {"web"}),
        ([run("start", services=["web"]), run("stop"), run("up")], set()),
        ([run("start", services=["db"]), run("stop"), run("up")], {"web"}),
        ([run("heal"), run("snapshot"), run("stop", services=["db"]), run("up")], {"db"}),
        ([run("stop", services=["db"]), run("restart"), run("up")], {"db"}),
        ([run("down"), run("up")], {"db", "web"}),
        ([run("up", outcome="undone"), run("stop"), run("up")], {"db", "web"}),
        ([run("up"), run("down")], set()),
    ],
)
def test_who_rests(runs, asleep):
    assert drift.resting(runs, SERVICES) == asleep


def treated(runs, **facts):
    down = container("web", **{"state": "exited", "finished_at": NOW - timedelta(minutes=59), "ports": (), **facts})
    observed = Observed(stack="shop", containers=(container("db"), down))
    checks = [CheckResult(service="web", container="w", state="exited", ready=False, check="", message="")]
    drifted = drift.drifts(GENERATION, observed, checks, (), home=HOME, now=NOW)
    (one,) = drift.treat(drifted, observed, runs, NOW)
    return one.state, one.attempts


def heals(*minutes_ago):
    return [run("heal", minutes, services=["web"]) for minutes in minutes_ago]


@pytest.mark.parametrize(
    ("runs", "state", "attempts"),
    [
        ([run("up", 90)], HealState.NOW, 0),
        ([*heals(0.5), run("up", 90)], HealState.LATER, 1),
        ([*heals(1.5), run("up", 90)], HealState.NOW, 1),
        ([*heals(1.5, 4), run("up", 90)], HealState.LATER, 2),
        ([*heals(2.5, 4), run("up", 90)], HealState.NOW, 2),
        ([*heals(30, 40, 50, 60, 70), run("up", 90)], HealState.GIVEN_UP, 5),
        ([run("restart", 1), *heals(30, 40, 50, 60, 70), run("up", 90)], HealState.NOW, 0),
        ([run("heal", 0.1, services=["db"]), run("up", 90)], HealState.NOW, 0),
        (heals(24 * 61, 24 * 62, 24 * 63), HealState.NOW, 0),
    ],
)
def test_ever_later_then_no_more(runs, state, attempts):
    assert treated(runs) == (state, attempts)


def test_one_that_ran_for_long_gets_all_attempts_again():
    lived = {"started_at": NOW - timedelta(hours=1), "finished_at": NOW - timedelta(seconds=1)}
    assert treated(heals(70, 80, 90, 100, 110), **lived) == (HealState.NOW, 0)


def test_what_is_not_ours_is_not_treated():
    observed = Observed(stack="shop", containers=(container("db"), container("web"), container("x", labels={})))
    drifted = drift.drifts(GENERATION, observed, (), (), home=HOME, now=NOW)
    assert drift.treat(drifted, observed, (), NOW) == ()
