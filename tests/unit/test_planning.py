"""Plans: what is wanted and what is observed in, steps out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.model.definition import Definition, Source
from moorage.model.lease import Lease, LeaseKey
from moorage.model.state import Container, Observed
from moorage.model.step import Operation, StepKind
from moorage.rules import graph, planning, reading
from moorage.rules.planning import Desired, ImageNeed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHAIN: dict[str, Any] = {
    "db": {"image": "db"},
    "migrate": {"image": "m", "depends_on": {"db": {"condition": "service_healthy"}}},
    "api": {
        "image": "api",
        "depends_on": {
            "db": {"condition": "service_started", "restart": True},
            "migrate": {"condition": "service_completed_successfully"},
        },
    },
}


def defined(services: dict[str, Any]) -> Definition:
    config = {"name": "shop", "services": services}
    return reading.read_definition(config, config, {}, {}, Source(directory=Path("/p")))


def desired(services: dict[str, Any], **keys: Any) -> Desired:
    definition = defined(services)
    images = {name: ImageNeed(service=name, reference=name, image_id="sha256:1") for name in services}
    digests = dict.fromkeys(services, "same")
    return Desired(
        **{
            "definition": definition,
            "building": definition,
            "leases": (),
            "held": (),
            "images": images,
            "digests": digests,
            **keys,
        }
    )


def running(*names: str, digest: str = "same") -> Observed:
    containers = [Container(id=n, name=f"shop-{n}-1", service=n, state="running", digest=digest) for n in names]
    return Observed(stack="shop", containers=tuple(containers))


def needs(plan: planning.Plan) -> dict[str, set[str]]:
    return {step.id: set(step.needs) for step in plan.steps}


def test_a_first_start_waits_for_true_dependencies_only() -> None:
    plan = planning.make_plan(desired(CHAIN), Observed(stack="shop"), frozenset())
    assert needs(plan) == {
        "create": set(),
        "start db": {"create"},
        "ready db": {"start db"},
        "start migrate": {"create", "ready db"},
        "ready migrate": {"start migrate"},
        "start api": {"create", "start db", "ready migrate"},
        "ready api": {"start api"},
    }


def test_nothing_to_do_is_an_empty_plan() -> None:
    plan = planning.make_plan(desired(CHAIN), running(*CHAIN), frozenset(CHAIN))
    assert plan.empty
    assert plan.unchanged == ("db", "migrate", "api")


def test_a_change_restarts_who_asks_for_it_and_nobody_else() -> None:
    digests = {"db": "new", "migrate": "same", "api": "same"}
    plan = planning.make_plan(desired(CHAIN, digests=digests), running(*CHAIN), frozenset(CHAIN))
    assert [step.id for step in plan.steps] == ["create", "start db", "ready db", "stop api", "start api", "ready api"]
    assert plan.unchanged == ("migrate",)


def test_a_service_that_is_not_ready_is_started_and_waited_for_without_a_new_container() -> None:
    plan = planning.make_plan(desired(CHAIN), running(*CHAIN), frozenset({"db", "migrate"}))
    assert [step.id for step in plan.steps] == ["start api", "ready api"]


def test_images_are_made_after_the_leases_and_before_the_containers() -> None:
    images = {
        "db": ImageNeed(service="db", reference="db", action=StepKind.PULL, why="not here yet"),
        "api": ImageNeed(service="api", reference="api", action=StepKind.BUILD, why="no image yet"),
    }
    lease = Lease(key=LeaseKey(stack="shop", service="api", target=80), port=8001, wanted=8000, since=NOW)
    services = {"db": {"image": "db"}, "api": {"build": {"context": "."}}}
    plan = planning.make_plan(desired(services, images=images, leases=(lease,)), Observed(stack="shop"), frozenset())
    assert needs(plan)["build api"] == {"lease"}
    assert needs(plan)["pull db"] == {"lease"}
    assert needs(plan)["create"] == {"lease", "build api", "pull db"}
    assert "8001 (wanted 8000)" in plan.steps[0].detail[0]


def test_an_orphan_is_removed_by_create() -> None:
    plan = planning.make_plan(desired({"db": {"image": "db"}}), running("db", "old"), frozenset({"db"}))
    assert [step.id for step in plan.steps] == ["create"]
    assert "old: removed" in plan.steps[0].detail[0]


def test_scaling_is_a_change() -> None:
    services = {"db": {"image": "db", "deploy": {"replicas": 2}}}
    plan = planning.make_plan(desired(services), running("db"), frozenset())
    assert plan.steps[0].detail == ("db: 1 of 2 replicas exist",)


def test_a_service_without_replicas_is_neither_started_nor_waited_for() -> None:
    services = {"db": {"image": "db", "deploy": {"replicas": 0}}, "api": {"image": "a", "depends_on": {"db": {}}}}
    plan = planning.make_plan(desired(services), Observed(stack="shop"), frozenset())
    assert needs(plan) == {"create": set(), "start api": {"create"}, "ready api": {"start api"}}


def test_down_stops_dependents_first_and_removes_at_the_end() -> None:
    definition = defined(CHAIN)
    plan = planning.stop_plan("shop", Operation.DOWN, definition.services, running(*CHAIN))
    assert needs(plan) == {
        "stop api": set(),
        "stop migrate": {"stop api"},
        "stop db": {"stop api", "stop migrate"},
        "remove": {"stop api", "stop db", "stop migrate"},
    }


def test_every_step_stands_after_all_it_needs() -> None:
    plan = planning.make_plan(desired(CHAIN), Observed(stack="shop"), frozenset())
    seen: set[str] = set()
    for step in plan.steps:
        assert set(step.needs) <= seen
        seen.add(step.id)


def test_a_cycle_is_an_error_that_shows_it() -> None:
    services = defined(
        {"a": {"image": "x", "depends_on": {"b": {}}}, "b": {"image": "x", "depends_on": {"a": {}}}}
    ).services
    with pytest.raises(DefinitionError, match=r"a -> b -> a|b -> a -> b"):
        graph.order(services)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("postgres:17", "postgres"),
        ("registry.example/library/postgres@sha256:1", "postgres"),
        ("moorage-base/redis:7", "redis"),
        ("mariadb", "mysql"),
        ("my-postgres-exporter", ""),
        ("", ""),
    ],
)
def test_image_aware_checks_go_by_the_last_part_of_the_name(reference: str, kind: str) -> None:
    assert planning.image_kind(reference) == kind
