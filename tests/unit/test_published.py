"""Ports of all forms, right and wrong: read, or refused with the name of their key."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.rules import published, reading

READ: list[tuple[dict[str, Any], tuple[int, str, int | None, int | None]]] = [
    ({"target": 80}, (80, "tcp", None, None)),
    ({"target": "80"}, (80, "tcp", None, None)),
    ({"target": 1, "published": 1}, (1, "tcp", 1, None)),
    ({"target": 65535, "published": "65535"}, (65535, "tcp", 65535, None)),
    ({"target": 80, "published": ""}, (80, "tcp", None, None)),
    ({"target": 80, "published": "0"}, (80, "tcp", None, None)),
    ({"target": 80, "published": 0}, (80, "tcp", None, None)),
    ({"target": 80, "published": "080"}, (80, "tcp", 80, None)),
    ({"target": 80, "published": "8000-8010"}, (80, "tcp", 8000, 8010)),
    ({"target": 80, "published": "8000-8000"}, (80, "tcp", 8000, None)),
    ({"target": 80, "protocol": "udp"}, (80, "udp", None, None)),
    ({"target": 80, "protocol": "UDP"}, (80, "udp", None, None)),
    ({"target": 80, "protocol": "sctp"}, (80, "sctp", None, None)),
    ({"target": 80, "protocol": None}, (80, "tcp", None, None)),
]
REFUSED: list[dict[str, Any]] = [
    {},
    {"target": None},
    {"target": 0},
    {"target": -1},
    {"target": 65536},
    {"target": 10**30},
    {"target": "http"},
    {"target": "80-90"},
    {"target": 80.5},
    {"target": True},
    {"target": "٨٠"},
    {"target": 80, "published": "-1"},
    {"target": 80, "published": -1},
    {"target": 80, "published": "abc"},
    {"target": 80, "published": "99999"},
    {"target": 80, "published": 65536},
    {"target": 80, "published": "6010-6005"},
    {"target": 80, "published": "8000-"},
    {"target": 80, "published": "-8000"},
    {"target": 80, "published": "-"},
    {"target": 80, "published": "0-10"},
    {"target": 80, "published": "8000-70000"},
    {"target": 80, "published": "8000-8001-8002"},
    {"target": 80, "published": " 80"},
    {"target": 80, "published": "80\n"},
    {"target": 80, "published": "8e3"},
    {"target": 80, "published": "1" * 5000},
    {"target": 80, "published": False},
    {"target": 80, "protocol": "http"},
    {"target": 80, "protocol": 6},
]


def service(**keys: Any) -> reading.Service:
    return reading.read_service("web", {"image": "x", **keys}, {}, {})


@pytest.mark.parametrize(("port", "wanted"), READ, ids=repr)
def test_what_is_a_port_is_read(port: dict[str, Any], wanted: Any) -> None:
    (found,) = service(ports=[{"target": 1, "published": 2}, port]).ports[1:]
    assert (found.target, found.protocol, found.wanted, found.wanted_last) == wanted


@pytest.mark.parametrize("port", REFUSED, ids=lambda port: repr(port)[:60])
def test_what_is_no_port_is_refused_by_its_key(port: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"^services\.web\.ports: ") as caught:
        service(ports=[{"target": 1, "published": 2}, port])
    assert (caught.value.exit_code, caught.value.fields["key"]) == (2, "services.web.ports")


@pytest.mark.parametrize("entry", ["80", 80, "80/", "1-65535", "3000-3005/udp", "53/UDP"])
def test_what_is_exposed_is_left_to_compose(entry: Any) -> None:
    service(expose=[entry])


@pytest.mark.parametrize("entry", ["", "abc", 0, -1, "70000", "80-70", "80/foo", "8080:80", None, 1.5])
def test_what_cannot_be_exposed_is_refused_by_its_key(entry: Any) -> None:
    with pytest.raises(DefinitionError) as caught:
        service(expose=["80", entry])
    assert caught.value.fields["key"] == "services.web.expose"


@pytest.mark.parametrize(
    ("complaint", "entry"),
    [
        ("invalid hostPort: -1", "-1:80"),
        ("invalid hostPort: 8010-8005", "127.0.0.1:8010-8005:80"),
        ("invalid containerPort: 99999", 99999),
        ("invalid containerPort: 99999", "80:99999/udp"),
        ("invalid ranges specified for container and host Ports: 80-81 and 8000-8002", "8000-8002:80-81"),
        ("invalid proto: foo", "80:80/foo"),
        ("invalid IP address: 1.2.3", "1.2.3:80:80"),
        ("no port specified: <empty>", ""),
        ("no port specified: :<empty>", ":"),
    ],
)
def test_the_service_of_a_wrong_port_is_found(complaint: str, entry: Any) -> None:
    complaint = f"/home/me: and you/compose.yaml: {complaint}"
    assert published.is_about_ports(complaint)
    ports = {"db": ["5432:5432", {"target": 70000}, 80], "web": ["8080:8080", entry], "none": []}
    assert published.users_of(complaint, ports) == ("web",)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"scale": -1}, "scale"),
        ({"scale": 10_001}, "scale"),
        ({"scale": 10**30}, "scale"),
        ({"scale": "two"}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"scale": [1]}, "scale"),
        ({"deploy": {"replicas": -1}}, "deploy.replicas"),
        ({"deploy": {"replicas": "x"}}, "deploy.replicas"),
        ({"stop_grace_period": "-5s"}, "stop_grace_period"),
        ({"stop_grace_period": "9" * 400}, "stop_grace_period"),
        ({"stop_grace_period": "1000000000h"}, "stop_grace_period"),
        ({"stop_grace_period": float("nan")}, "stop_grace_period"),
        ({"stop_grace_period": True}, "stop_grace_period"),
        ({"stop_grace_period": ["5s"]}, "stop_grace_period"),
        ({"x-moorage": {"ready": {"tcp": 1, "timeout": {}}}}, "x-moorage.ready.timeout"),
        ({"x-moorage": {"ready": {"tcp": 10**30}}}, "x-moorage.ready.tcp"),
    ],
)
def test_numbers_that_are_none_are_refused_by_their_key(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        service(**keys)
    assert caught.value.fields["key"] == f"services.web.{key}"


@pytest.mark.parametrize("kind", ["secrets", "configs"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("uid", value) for value in ("postgres", "-1", "1.5", "4294967296", "0x10", "\u0663x")),
        *(("gid", value) for value in ("staff", "-1")),
        *(("mode", value) for value in ("0-1", "046113177", "abc", "0o400", "0888", "-400")),
    ],
)
def test_an_owner_or_mode_that_is_no_number_is_refused_by_its_key(kind: str, option: str, value: str) -> None:
    use, config = {"source": "s", option: value}, {kind: {"s": {"content": "x"}}}
    with pytest.raises(DefinitionError) as caught:
        reading.read_service("web", {"image": "x", kind: [use]}, config, {})
    assert caught.value.fields["key"] == f"services.web.{kind}.{option}"
    assert "source: s" in str(caught.value)


def test_owners_and_modes_that_are_numbers() -> None:
    uses = [{"source": "s", "uid": "4294967295", "gid": "7", "mode": "07777"}, {"source": "s", "uid": "", "mode": "0"}]
    files = reading.read_service("web", {"image": "x", "secrets": uses}, {"secrets": {"s": {"content": ""}}}, {}).inject
    assert [(one.uid, one.gid, one.mode) for one in files] == [(4294967295, 7, 0o7777), (0, 0, 0)]


def test_of_a_file_compose_ignores_owner_and_mode() -> None:
    uses = [{"source": "s", "uid": "postgres", "mode": "abc"}]
    assert (
        reading.read_service("web", {"image": "x", "secrets": uses}, {"secrets": {"s": {"file": "/f"}}}, {}).inject
        == ()
    )
