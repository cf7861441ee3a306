"""A variable of a published port gets the port that is leased, and what else is in it stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.model.definition import Source
from moorage.model.lease import Lease
from moorage.rules import composing, reading
from moorage.rules.variables import names_before_ports

LONG = {"target": 80, "protocol": "tcp"}


def definition(written: list[Any], ports: list[dict[str, Any]]) -> reading.Definition:
    config = {"name": "shop", "services": {"web": {"image": "x", "ports": ports}}}
    raw = {"services": {"web": {"image": "x", "ports": written}}}
    return reading.read_definition(config, raw, {}, {}, Source(directory=Path("/p")))


def leased(found: reading.Definition, port: int) -> list[Lease]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    requests = composing.requests_of(found)
    return [
        Lease(key=one.key, port=port + n, host_ip=one.host_ip or "127.0.0.1", since=now)
        for n, one in enumerate(requests)
    ]


@pytest.mark.parametrize(
    ("written", "port", "value"),
    [
        ("${A:-8080}:80", {"published": "8080"}, "18151"),
        ("$A:80", {"published": "8080"}, "18151"),
        ("${A:-127.0.0.1:8080}:80", {"published": "8080", "host_ip": "127.0.0.1"}, "127.0.0.1:18151"),
        ("${A:-0.0.0.0:8080}:80", {"published": "8080", "host_ip": "0.0.0.0"}, "0.0.0.0:18151"),
        ("${A:-[::1]:8080}:80", {"published": "8080", "host_ip": "::1"}, "[::1]:18151"),
        ("$A:80", {"published": "8080", "host_ip": "::1"}, "[::1]:18151"),
        ("${A:-127.0.0.1:8080-8090}:80", {"published": "8080-8090", "host_ip": "127.0.0.1"}, "127.0.0.1:18151"),
        ("${A:-8080-8090}:80", {"published": "8080-8090"}, "18151"),
        ("127.0.0.1:${A:-8080}:80", {"published": "8080", "host_ip": "127.0.0.1"}, "18151"),
        ("${IP:-127.0.0.1}:${A:-8080}:80", {"published": "8080", "host_ip": "127.0.0.1"}, "18151"),
        ("[::1]:${A:-8080}:80", {"published": "8080", "host_ip": "::1"}, "18151"),
        ("${A:-8080}:80/${U:-udp}", {"published": "8080", "protocol": "udp"}, "18151"),
        ("${A:-${B:-8080}}:80", {"published": "8080"}, "18151"),
        ("${A-8080}:80", {"published": "8080"}, "18151"),
        ("${A:?needed}:80", {"published": "8080"}, "18151"),
        ({"target": 80, "published": "${A}"}, {"published": "8080"}, "18151"),
        ({"target": 80, "published": "${A}", "host_ip": "::1"}, {"published": "8080", "host_ip": "::1"}, "18151"),
        ({"target": 80, "published": "${A}", "protocol": "$U"}, {"published": "8080", "protocol": "udp"}, "18151"),
        ("${A:-}:80", {}, "18151"),
        # Not the variable's own value, or not the port alone: the port moves, the variable stays.
        ("${A:+8080}:80", {"published": "8080"}, None),
        ("1${A}:80", {"published": "18080"}, None),
        ("${A}0:80", {"published": "8080"}, None),
        ("${A:-8080}:${A:-80}", {"published": "8080"}, None),
        ("${A:-8080:80}", {"published": "8080"}, None),
        ("${A", {"published": "8080"}, None),
    ],
    ids=str,
)
def test_a_leased_port_keeps_what_else_is_in_the_variable(
    written: Any, port: dict[str, Any], value: str | None
) -> None:
    found = definition([written], [{**LONG, **port}])
    wanted = {} if value is None else {"A": value}
    assert composing.leased_variables(found, leased(found, 18151)) == wanted
    assert composing.moved_variables(found, leased(found, 18151)) == wanted
    if "published" in port:
        assert composing.moved_variables(found, leased(found, 8080)) == {}


def test_mappings_that_compose_makes_of_a_range_are_passed_over() -> None:
    ports = [{**LONG, "target": 80 + n, "published": str(8000 + n)} for n in range(3)]
    found = definition(["8000-8001:80-81", "${A:-8002}:82"], ports)
    assert found.port_variables == {"A": ("web", 82, "tcp", 0)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('ports: ["${A:-127.0.0.1:80}:80", "$B:81", "127.0.0.1:${C}:82"]', ["A", "B", "C"]),
        ("- ${A}:$B", ["A"]),
        ("published: ${A:-${B}}", ["A"]),
        ('{"published": "$A", "target": 80}', ["A"]),
        ("image: x:${TAG}", []),
        ("url: http://${HOST}/x", []),
        ("- ${DOCKER_CONFIG:-20000}:80", []),
        ("- ${A:-\n}:80 ${", []),
        ("cost: $$A:80", ["A"]),  # it is asked about in vain
    ],
)
def test_names_that_may_be_ports(text: str, names: list[str]) -> None:
    assert list(names_before_ports(text)) == names
