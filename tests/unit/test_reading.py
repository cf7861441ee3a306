"""From a canonical Compose project to what Moorage knows of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.model.definition import Condition, Source
from moorage.rules import reading
from moorage.rules.durations import seconds

SOURCE = Source(directory=Path("/project"))


def service(**keys: Any) -> reading.Service:
    return reading.read_service("web", {"image": "x", **keys}, {}, {})


def definition(**services: Any) -> reading.Definition:
    config = {"name": "shop", "services": services}
    return reading.read_definition(config, config, {}, {}, SOURCE)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("500ms", 0.5), ("1m30s", 90.0), ("2h", 7200.0), ("30", 30.0), (5, 5.0), ("1.5s", 1.5), ("1d", 86400.0)],
)
def test_durations_are_go_s(text: str, wanted: float) -> None:
    assert seconds(text, "x") == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "5 minutes", "s", "-3s", "1m30", pytest.param("1" * 500_000 + "x", id="long")])
def test_other_durations_are_refused_by_place(text: str) -> None:
    with pytest.raises(DefinitionError, match=r"services\.web\.x") as caught:
        seconds(text, "services.web.x")
    assert caught.value.fields["key"] == "services.web.x"


def test_ports_keep_range_address_protocol_and_slot() -> None:
    ports = service(
        ports=[
            {"target": 80, "published": "8000", "protocol": "tcp"},
            {"target": 80, "published": "9000-9002", "host_ip": "0.0.0.0"},
            {"target": 53, "protocol": "udp"},
        ]
    ).ports
    assert [(p.target, p.protocol, p.slot, p.wanted, p.wanted_last, p.host_ip) for p in ports] == [
        (80, "tcp", 0, 8000, None, None),
        (80, "tcp", 1, 9000, 9002, "0.0.0.0"),
        (53, "udp", 0, None, None, None),
    ]


def test_a_replica_needs_a_port_each() -> None:
    found = service(deploy={"replicas": 3}, ports=[{"target": 80, "published": "8000"}])
    assert found.replicas == 3
    assert found.ports[0].count == 3


def test_dependencies_keep_all_they_say() -> None:
    found = service(depends_on={"db": {"condition": "service_healthy", "required": False, "restart": True}}).depends_on
    assert (found[0].service, found[0].condition, found[0].required, found[0].restart) == (
        "db",
        Condition.HEALTHY,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("${PORT:-8000}:80", {"PORT": ("web", 80, "tcp", 0)}),
        ("$PORT:80/udp", {"PORT": ("web", 80, "udp", 0)}),
        ("127.0.0.1:${PORT}:80", {"PORT": ("web", 80, "tcp", 0)}),
        ("[::1]:${PORT:-1}:80", {"PORT": ("web", 80, "tcp", 0)}),
        ({"target": 80, "published": "${PORT-1}"}, {"PORT": ("web", 80, "tcp", 0)}),
        ("${PORT}:${PORT}", {}),
        ("${A}-${B}:80-81", {}),
        ("1${PORT}:80", {}),
        ("${SSH_PORT}:22", {"SSH_PORT": ("web", 22, "tcp", 0)}),
        ("${WEB}:80", {"WEB": ("web", 80, "tcp", 0)}),
        # What Compose, git and the loader read from the environment: a number there is the name of a directory.
        *((f"${{{name}:-20000}}:80", {}) for name in ("DOCKER_CONFIG", "LD_LIBRARY_PATH", "HOME", "GIT_SSH", "PATH")),
        ("8000:80", {}),
        ("80", {}),
    ],
)
def test_a_variable_stands_for_a_port_if_it_is_the_whole_published_part(written: Any, wanted: Any) -> None:
    raw = {"services": {"web": {"ports": [written]}}}
    assert reading.port_variables(raw, {"web": service()}) == wanted


@pytest.mark.parametrize("kind", ["http", "tcp", "log", "exec", "exit", "timeout"])
@pytest.mark.parametrize("value", [None, True, False, 0, 5, 1.5, "", "x", [], [1], {}, {"a": 1}], ids=repr)
def test_a_ready_check_of_any_type_is_read_or_refused_by_place(kind: str, value: Any) -> None:
    """YAML without quotes makes `exec: true` a boolean."""
    with contextlib.suppress(DefinitionError):
        service(**{"x-moorage": {"ready": {kind: value}}})


@pytest.mark.parametrize(
    ("ready", "fields"),
    [
        ({"http": "/health"}, {"check": "http", "path": "/health"}),
        ({"http": {"path": "/x", "port": "90", "status": 204}}, {"check": "http", "port": 90, "status": 204}),
        ({"tcp": 5432, "timeout": "1m"}, {"check": "tcp", "port": 5432, "timeout_s": 60.0}),
        ({"log": "ready to"}, {"check": "log", "pattern": "ready to"}),
        ({"exec": ["true"]}, {"check": "exec", "command": ("true",)}),
        ({"exec": "a && b"}, {"check": "exec", "command": ("/bin/sh", "-c", "a && b")}),
        ({"exit": 3}, {"check": "exit", "exit_code": 3}),
    ],
)
def test_ready_checks(ready: Any, fields: dict[str, Any]) -> None:
    check = service(**{"x-moorage": {"ready": ready}}).ready
    assert check is not None
    assert {key: getattr(check, key) for key in fields} == fields


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"ready": {"http": "/", "tcp": 1}}, "services.web.x-moorage.ready"),
        ({"ready": {"htp": "/"}}, "services.web.x-moorage.ready.htp"),
        ({"ready": {"log": "("}}, "services.web.x-moorage.ready.log"),
        ({"ready": {"tcp": "db"}}, "services.web.x-moorage.ready.tcp"),
        ({"probe": "slow"}, "services.web.x-moorage.probe"),
        ({"redy": {}}, "services.web.x-moorage.redy"),
    ],
)
def test_a_wrong_option_is_named(options: Any, key: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        service(**{"x-moorage": options})
    assert caught.value.fields["key"] == key


def test_a_secret_from_the_environment_is_written_into_the_container() -> None:
    config = {"secrets": {"s": {"environment": "TOKEN"}}, "configs": {"c": {"content": "a$$b"}}}
    uses = {"secrets": [{"source": "s", "mode": "0400", "uid": "7"}], "configs": [{"source": "c", "target": "/etc/c"}]}
    found = reading.read_service("web", uses, config, {"secrets.s": "hunter2"})
    assert [(f.target, f.content, f.mode, f.uid) for f in found.inject] == [
        ("/run/secrets/s", "hunter2", 0o400, 7),
        ("/etc/c", "a$b", 0o444, 0),
    ]
    assert "hunter2" not in repr(found)


def test_a_secret_whose_variable_is_not_set_is_an_error() -> None:
    config = {"secrets": {"s": {"environment": "TOKEN"}}}
    with pytest.raises(DefinitionError, match="TOKEN"):
        reading.read_service("web", {"secrets": [{"source": "s"}]}, config, {})


def test_a_definition_without_services_says_why_that_may_be() -> None:
    with pytest.raises(DefinitionError) as caught:
        definition()
    assert "--profile" in str(caught.value.hint)


def test_notices_tell_what_is_shared_dropped_or_outside() -> None:
    config = {
        "name": "shop",
        "services": {
            "web": {
                "image": "x",
                "container_name": "fixed",
                "volumes": [{"type": "bind", "source": "/etc", "target": "/e"}],
            }
        },
        "volumes": {"data": {"name": "everyones"}, "own": {"name": "shop_own"}},
        "networks": {"net": {"name": "net", "external": True}},
    }
    notices = "\n".join(reading.read_definition(config, config, {}, {}, SOURCE).notices)
    assert "container_name" in notices
    assert "/etc is outside" in notices
    assert "everyones" in notices
    assert "networks.net" in notices
    assert "own" not in notices.replace("everyones", "")
