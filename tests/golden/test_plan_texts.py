"""Compose in, plan text out. `WRITE_GOLDEN=1 pytest tests/golden` writes the texts anew: read the diff."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.model.definition import Definition, Source
from moorage.model.lease import Lease
from moorage.model.state import Container, Observed
from moorage.model.step import Operation, Plan, StepKind
from moorage.rules import composing, planning, reading
from moorage.rules.planning import Desired, ImageNeed
from moorage.show.text import plan_text

HERE = Path(__file__).parent
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUILD, PULL = StepKind.BUILD, StepKind.PULL

SHOP: dict[str, Any] = {
    "frontend": {
        "build": {"context": "/projects/shop/frontend"},
        "depends_on": {"backend": {"condition": "service_healthy", "restart": True}},
        "ports": [{"target": 80, "published": "3000", "protocol": "tcp"}],
    },
    "backend": {
        "build": {"context": "/projects/backend"},
        "container_name": "the-backend",
        "depends_on": {
            "db": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
            "cache": {"condition": "service_started"},
        },
        "ports": [{"target": 8000, "published": "8000", "protocol": "tcp"}],
    },
    "migrate": {"image": "shop-backend", "depends_on": {"db": {"condition": "service_healthy"}}},
    "db": {"image": "postgres:16", "ports": [{"target": 5432, "published": "5432", "protocol": "tcp"}]},
    "cache": {"image": "redis:7"},
}


def defined(services: Mapping[str, Any], **top: Any) -> Definition:
    config = {"name": "shop", "services": dict(services), **top}
    return reading.read_definition(config, config, {}, {}, Source(directory=Path("/projects/shop")))


def leased(definition: Definition, moved: Mapping[int, int]) -> tuple[Lease, ...]:
    """Each wanted port as it is wanted, but for those that `moved` says are elsewhere."""
    requests = composing.requests_of(definition)
    ports = (request.wanted or 20000 for request in requests)
    return tuple(
        Lease(key=r.key, port=moved.get(port, port), count=r.count, wanted=r.wanted, since=NOW)
        for r, port in zip(requests, ports, strict=True)
    )


def desired(
    definition: Definition,
    *,
    needs: Mapping[str, StepKind] | None = None,
    moved: Mapping[int, int] | None = None,
    **keys: Any,
) -> Desired:
    why = {BUILD: "no image yet", PULL: "not here yet"}
    images = {}
    for name in sorted(definition.services):
        action = (needs or {}).get(name)
        reference = composing.image_reference(definition, name)
        image_id = None if action else "sha256:1"
        images[name] = ImageNeed(
            service=name, reference=reference, image_id=image_id, action=action, why=why[action] if action else ""
        )
    return Desired(
        **{
            "definition": definition,
            "building": definition,
            "leases": leased(definition, moved or {}),
            "held": (),
            "images": images,
            "digests": dict.fromkeys(definition.services, "same"),
            **keys,
        }
    )


def observed(*names: str, stale: tuple[str, ...] = (), state: str = "running") -> Observed:
    return Observed(
        stack="shop",
        containers=tuple(
            Container(
                id=name, name=f"shop-{name}-1", service=name, state=state, digest="old" if name in stale else "same"
            )
            for name in names
        ),
        networks=("shop_default",),
    )


def first_start() -> Plan:
    needs = {"frontend": BUILD, "backend": BUILD, "db": PULL, "cache": PULL}
    wanted = desired(defined(SHOP), needs=needs, moved={8000: 8010, 5432: 5433})
    return planning.make_plan(wanted, Observed(stack="shop"), frozenset())


def nothing_to_do() -> Plan:
    definition = defined(SHOP)
    wanted = desired(definition, held=leased(definition, {}))
    return planning.make_plan(wanted, observed(*SHOP), frozenset(SHOP))


def one_changed() -> Plan:
    """A change of the backend restarts the frontend, which asks for it; the database stays."""
    definition = defined(SHOP)
    wanted = desired(definition, needs={"backend": BUILD}, held=leased(definition, {}))
    return planning.make_plan(wanted, observed(*SHOP), frozenset({"db", "cache", "migrate", "frontend"}))


def one_unready() -> Plan:
    definition = defined(SHOP)
    wanted = desired(definition, held=leased(definition, {}))
    return planning.make_plan(wanted, observed(*SHOP), frozenset(SHOP) - {"cache"})


def orphan_and_replicas() -> Plan:
    services = {
        "worker": {"image": "w", "scale": 3},
        "web": {"image": "n", "ports": [{"target": 80, "published": "8080-8081"}]},
    }
    definition = defined({**services, "web": {**services["web"], "scale": 2}})
    return planning.make_plan(desired(definition), observed("worker", "old-web"), frozenset())


def force_recreate() -> Plan:
    services = {"a": {"image": "a"}, "b": {"image": "b", "depends_on": {"a": {"condition": "service_started"}}}}
    wanted = desired(defined(services), force_recreate=True)
    return planning.make_plan(wanted, observed("a", "b"), frozenset({"a", "b"}))


def shared_on_purpose() -> Plan:
    services = {"db": {"image": "postgres:16", "volumes": [{"type": "volume", "source": "data", "target": "/d"}]}}
    volumes = {"data": {"name": "company-data", "external": True}}
    return planning.make_plan(desired(defined(services, volumes=volumes)), Observed(stack="shop"), frozenset())


def down() -> Plan:
    return planning.stop_plan(
        "shop", Operation.DOWN, defined(SHOP).services, observed("db", "cache", "backend", "frontend")
    )


def start_again() -> Plan:
    services = defined(SHOP).services
    return planning.start_plan("shop", Operation.START, services, ("db", "backend"), frozenset({"db"}))


CASES: tuple[Callable[[], Plan], ...] = (
    first_start,
    nothing_to_do,
    one_changed,
    one_unready,
    orphan_and_replicas,
    force_recreate,
    shared_on_purpose,
    down,
    start_again,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_plan(case: Callable[[], Plan]) -> None:
    file = HERE / f"{case.__name__}.txt"
    text = plan_text(case()) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_every_text_has_its_case() -> None:
    assert {file.stem for file in HERE.glob("*.txt")} == {case.__name__ for case in CASES}
