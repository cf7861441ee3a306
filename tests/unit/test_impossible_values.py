"""Values that no engine takes are refused by name, before anything is started."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.model.definition import Source
from moorage.rules import reading, values
from tests import compose_schema

SOURCE = Source(directory=Path("/project"))
IMPOSSIBLE: tuple[tuple[str, Any], ...] = (
    ("cpu_period", 5),
    ("cpu_quota", 5),
    ("cpu_shares", -1),
    ("cpus", -1),
    ("cpus", 1e308),
    ("deploy.resources.limits.cpus", -1),
    ("deploy.resources.limits.memory", "1024"),
    ("deploy.restart_policy.condition", "foo"),
    ("dns", ["10.0.0.1", "foo"]),
    ("extra_hosts", ["h=10.0.0.1", "h=foo"]),
    ("healthcheck.interval", "-1s"),
    ("healthcheck.start_period", "-1s"),
    ("healthcheck.timeout", "-1s"),
    ("ipc", "foo"),
    ("isolation", "hyperv"),
    ("mac_address", "00:00"),
    ("mem_limit", "1024"),
    ("mem_swappiness", "101"),
    ("networks.n.ipv4_address", "foo"),
    ("networks.n.link_local_ips", ["foo"]),
    ("oom_score_adj", "2000"),
    ("restart", "foo"),
    ("restart", "always:3"),
    ("shm_size", "-1"),
    ("stop_signal", "foo"),
    ("ulimits.nofile", {"soft": 10, "hard": 5}),
    ("ulimits.nofile", {"soft": -1, "hard": 5}),
    ("healthcheck", {"test": "true", "start_interval": "1s"}),
    ("mem_limit", "-1"),
    ("tmpfs", [":size=1m"]),
    ("ulimits", {"foo": 1}),
    ("volumes", [{"type": "bind", "source": "/tmp", "target": "rel"}]),
    ("volumes", [{"type": "npipe", "source": "/tmp", "target": "/v"}]),
    ("volumes", [{"type": "bind", "source": "/tmp", "target": "/v", "bind": {"propagation": "foo"}}]),
    ("working_dir", "rel"),
)
"""`tests/engine/test_impossible_values.py` asks an engine."""
MEANINGLESS: tuple[tuple[str, Any], ...] = (
    ("blkio_config.weight", 5),
    ("healthcheck", {"start_interval": "1ns", "start_period": "1s"}),
    ("pid", "foo"),
    ("restart", "on-failure:x"),
    ("uts", "foo"),
)
"""An old engine takes them for its default, or has no such feature and leaves it out."""
POSSIBLE: tuple[tuple[str, Any], ...] = (
    ("cpus", 0.5),
    ("cpu_quota", -1),
    ("deploy.restart_policy.condition", "any"),
    ("deploy.restart_policy.condition", "unless-stopped"),
    ("userns_mode", "keep-id"),
    ("dns", ["10.0.0.1", "fd00::1"]),
    ("extra_hosts", ["h=10.0.0.1", "g=host-gateway", "six=::1", "b=[::1]"]),
    ("healthcheck.interval", "0s"),
    ("ipc", "service:db"),
    ("isolation", "default"),
    ("mac_address", "02-42-ac-11-00-07"),
    ("mem_limit", "0"),
    ("mem_limit", ""),
    ("mem_reservation", "-1"),
    ("tmpfs", ["/t:size=1m,mode=700"]),
    ("cpu_quota", -5),
    ("mem_swappiness", "-1"),
    ("networks.n", None),
    ("pid", "container:abc"),
    ("restart", "on-failure:3"),
    ("restart", "no"),
    ("stop_signal", "SIGRTMIN+3"),
    ("stop_signal", "usr1"),
    ("stop_signal", "15"),
    ("ulimits.nofile", -1),
    ("ulimits.nofile", {"soft": 10, "hard": -1}),
)


def refused(service: dict[str, Any], **things: Any) -> DefinitionError:
    config = {"name": "shop", "services": {"web": {"image": "x", **service}}, **things}
    with pytest.raises(DefinitionError) as caught:
        reading.read_definition(config, config, {}, {}, SOURCE)
    return caught.value


def taken(service: dict[str, Any], **things: Any) -> None:
    values.refuse_impossible({"name": "shop", "services": {"web": {"image": "x", **service}}, **things})


@pytest.mark.parametrize(("key", "value"), [*IMPOSSIBLE, *MEANINGLESS])
def test_it_is_refused_by_name(key: str, value: Any) -> None:
    error = refused(at(key, value))
    assert (error.exit_code, error.fields["service"]) == (2, "web")
    assert error.fields["key"].startswith(f"services.web.{key}")
    assert "expected" in str(error)


@pytest.mark.parametrize(("key", "value"), POSSIBLE)
def test_it_is_taken(key: str, value: Any) -> None:
    taken(at(key, value))


@pytest.mark.parametrize("value", [True, "x", [[1]], {"a": [1]}, 10**400, float("nan"), "\0"])
@pytest.mark.parametrize("pattern", sorted(values.RULES))
def test_a_value_of_another_kind_is_no_traceback(pattern: str, value: Any) -> None:
    with suppress(DefinitionError):
        values.refuse_impossible(at(pattern.replace("*", "one"), value))


def test_an_init_container_is_a_container_too() -> None:
    error = refused({"pre_start": [{"command": ["x"]}, {"command": ["x"], "uts": "foo"}]})
    assert error.fields["key"] == "services.web.pre_start[1].uts"


@pytest.mark.parametrize("key", ["subnet", "gateway", "ip_range", "aux_addresses"])
def test_addresses_of_networks(key: str) -> None:
    good = {
        "subnet": "10.9.0.0/24",
        "gateway": "10.9.0.1",
        "ip_range": "10.9.0.0/25",
        "aux_addresses": {"a": "10.9.0.9"},
    }
    taken({}, networks={"n": {"ipam": {"config": [good]}}})
    wrong = {"a": "foo"} if key == "aux_addresses" else "foo"
    error = refused({}, networks={"n": {"ipam": {"config": [good, {**good, key: wrong}]}}})
    assert error.fields["key"] == f"networks.n.ipam.config[1].{key}"


def test_rules_are_about_keys_that_exist() -> None:
    known = compose_schema.known()
    for pattern in values.RULES:
        parent, _, key = pattern.rpartition(".")
        assert key in (known[parent] if key != "*" else "*"), pattern


def at(key: str, value: Any) -> dict[str, Any]:
    found = value
    for part in reversed(key.split(".")):
        found = {part: found}
    return dict(found)


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("networks", {"n": None}),
        ("volumes", [{"type": "volume", "source": "n", "target": "/v"}]),
        ("secrets", [{"source": "n"}]),
        ("configs", [{"source": "n"}]),
        ("secrets", [{"target": "n"}]),
    ],
)
def test_an_init_container_uses_what_the_project_has(kind: str, use: Any) -> None:
    """Compose looks at services only, and drops what none of them uses."""
    service = {"pre_start": [{"command": ["x"], kind: use}]}
    error = refused(service, **{kind: {"other": {}}})
    assert (error.exit_code, error.fields["key"]) == (2, f"services.web.pre_start[0].{kind}")
    assert error.fields["service"] == "web"
    if "target" not in str(use) or kind == "volumes":
        config = {"name": "shop", "services": {"web": {"image": "x", **service}}, kind: {"n": {"name": "n"}}}
        reading.read_definition(config, config, {}, {}, SOURCE)
