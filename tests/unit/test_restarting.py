"""Restarts: what ends, what is started anew, who waits for whom."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.rules import restarting
from tests.unit.test_planning import defined

SHOP: dict[str, Any] = {
    "db": {"image": "db"},
    "migrate": {"image": "m", "depends_on": {"db": {"condition": "service_healthy"}}},
    "api": {
        "image": "api",
        "depends_on": {
            "db": {"condition": "service_healthy", "restart": True},
            "migrate": {"condition": "service_completed_successfully"},
        },
    },
    "web": {"image": "web", "depends_on": {"api": {"condition": "service_healthy"}}},
    "mail": {"image": "mail"},
}


@pytest.fixture
def services() -> dict[str, Service]:
    return dict(defined(SHOP).services)


def seen(**states: str) -> Observed:
    """All run, the one-shot has ended well; `states`: what is otherwise."""
    now = {**dict.fromkeys(SHOP, "running"), "migrate": "exited", **states}
    containers = [
        Container(id=n, name=f"shop-{n}-1", service=n, state=state, exit_code=0 if state == "exited" else None)
        for n, state in now.items()
        if state != "gone"
    ]
    return Observed(stack="shop", containers=tuple(containers))


def needs(services: dict[str, Service], observed: Observed, *names: str, ready: str, **how: Any) -> dict[str, set[str]]:
    found = frozenset(ready.split())
    chosen = restarting.choose(services, observed, names, found, **how)
    plan = restarting.restart_plan("shop", services, observed, chosen, found)
    known: set[str] = set()
    for step in plan.steps:
        assert set(step.needs) <= known, f"{step.id} stands before what it needs"
        known.add(step.id)
    return {step.id: set(step.needs) for step in plan.steps}


def test_all_stop_from_the_end_and_start_from_the_beginning(services):
    assert needs(services, seen(), ready="db migrate api web mail") == {
        "stop web": set(),
        "stop api": {"stop web"},
        "stop db": {"stop api"},
        "stop mail": set(),
        "start db": {"stop db"},
        "ready db": {"start db"},
        "start api": {"stop api", "ready db"},
        "ready api": {"start api"},
        "start web": {"stop web", "ready api"},
        "ready web": {"start web"},
        "start mail": {"stop mail"},
        "ready mail": {"start mail"},
    }


def test_who_asks_for_it_goes_along_and_others_stay(services):
    assert set(needs(services, seen(), "db", ready="db migrate api web mail")) == {
        *("stop db", "stop api", "start db", "ready db", "start api", "ready api")
    }
    assert set(needs(services, seen(), "web", ready="db migrate api web mail")) == {
        "stop web",
        "start web",
        "ready web",
    }


def test_what_broke_with_it_comes_back(services):
    """Only `web` was named by nobody and asks for nothing: it is there again because it depends on what crashed."""
    found = needs(services, seen(api="exited", web="exited"), "api", ready="db migrate mail")
    assert found == {
        "start api": set(),
        "ready api": {"start api"},
        "start web": {"ready api"},
        "ready web": {"start web"},
    }
    running_but_broken = needs(services, seen(api="exited"), "api", ready="db migrate mail")
    assert running_but_broken["start web"] == {"stop web", "ready api"}


def test_what_somebody_has_stopped_stays_so(services):
    observed = seen(api="exited", web="exited")
    asleep = frozenset({"api"})
    assert set(needs(services, observed, "db", ready="db migrate mail", asleep=asleep)) == {
        *("stop db", "start db", "ready db")
    }
    named = set(needs(services, observed, "api", ready="db migrate mail", asleep=asleep))
    assert named == {"start api", "ready api", "start web", "ready web"}
    assert "start api" in needs(services, observed, ready="db migrate mail", asleep=asleep)


def test_what_it_depends_on_is_brought_up_first(services):
    assert needs(services, seen(db="exited"), "mail", ready="migrate api web mail").keys() == {
        *("stop mail", "start mail", "ready mail")
    }
    found = needs(services, seen(db="exited"), "web", ready="migrate api web mail")
    assert found["start db"] == set()
    assert "stop api" not in found  # it is ready as it is


def test_a_one_shot_that_ended_well_runs_again_only_when_it_is_named(services):
    assert "start migrate" not in needs(services, seen(), ready="db migrate api web mail")
    assert needs(services, seen(), "migrate", ready="db migrate api web mail") == {
        "start migrate": set(),
        "ready migrate": {"start migrate"},
    }


def test_recreated_between_stop_and_start(services):
    found = needs(services, seen(), "web", ready="db migrate api web mail", recreate=True)
    assert found == {
        "stop web": set(),
        "create": {"stop web"},
        "start web": {"stop web", "create"},
        "ready web": {"start web"},
    }


def test_a_container_that_is_gone_is_created(services):
    found = needs(services, seen(web="gone"), "web", ready="db migrate api mail")
    assert found == {"create": set(), "start web": {"create"}, "ready web": {"start web"}}


def test_carried_on_after_a_crash(services):
    """db was started anew already, api was not yet: db is not stopped again."""
    found = needs(services, seen(api="exited"), "db", ready="db migrate web mail", done=frozenset({"db"}))
    assert found == {"start api": set(), "ready api": {"start api"}}
    waits = needs(services, seen(api="exited"), "db", ready="migrate web mail", done=frozenset({"db"}))
    assert waits["start api"] == {"ready db"}
    assert "stop db" not in waits


def test_nothing_is_started_that_has_no_replicas(services):
    services["mail"] = services["mail"].model_copy(update={"replicas": 0})
    assert "start mail" not in needs(services, seen(mail="gone"), ready="db migrate api web")
