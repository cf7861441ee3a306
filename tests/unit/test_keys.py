"""Every key of a Compose project is known: done, told of, or refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import UnsupportedKeyError
from moorage.model.definition import Source
from moorage.rules import keys, reading
from tests import compose_schema

SOURCE = Source(directory=Path("/project"))


def definition(service: dict[str, Any], **things: Any) -> reading.Definition:
    config = {"name": "shop", "services": {"web.1": {"image": "x", **service}}, **things}
    return reading.read_definition(config, config, {}, {"secrets.s": "x"}, SOURCE)


def test_the_list_is_that_of_the_schema() -> None:
    """After a renewal of `tests/compose_keys.json`, this says which keys nobody has looked at yet."""
    schema = {path: set(found) for path, found in compose_schema.known().items() if not path.startswith("jobs.")}
    ours = {path: set(found) for path, found in keys.OBJECTS.items()}
    assert ours == schema


def test_what_is_said_of_keys_is_said_of_keys_that_exist() -> None:
    known = compose_schema.known()
    for pattern in (*keys.IGNORED, *keys.REFUSED):
        parent, _, key = pattern.rpartition(".")
        assert key == "*" or key in known[parent], pattern


STRANGERS = [path for path in keys.OBJECTS if not re.search(r"external$|services.*\.(models|provider)", path)]


@pytest.mark.parametrize("path", STRANGERS)
def test_a_key_of_next_year_is_refused_by_name_wherever_it_stands(path: str) -> None:
    config: dict[str, Any] = {"key_of_next_year": 1}
    for part in reversed(path.split(".") if path else ()):
        config = {"one" if part == "*" else part: config}
    with pytest.raises(UnsupportedKeyError) as caught:
        keys.refuse_unsupported(config)
    assert caught.value.fields["key"] == f"{path.replace('*', 'one')}.key_of_next_year".lstrip(".")
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_places_in_lists_and_names_with_points() -> None:
    with pytest.raises(UnsupportedKeyError) as caught:
        definition({"ports": [{"target": 1}, {"target": 2, "colour": "red"}]})
    assert caught.value.fields["key"] == "services.web.1.ports[1].colour"
    assert caught.value.fields["service"] == "web.1"


def test_extensions_are_free() -> None:
    keys.refuse_unsupported(
        {"x-a": {}, "services": {"x-web": {"x-b": {"c": 1}, "labels": {"any": "thing"}, "build": {"x-bake": {"d": 1}}}}}
    )


@pytest.mark.parametrize(
    ("service", "named"),
    [
        ({"provider": {"type": "x"}}, "services.web.1.provider"),
        ({"models": {"m": None}}, "services.web.1.models"),
        ({"pre_start": [{"models": {"m": None}}]}, "services.web.1.pre_start[0].models"),
        ({"pre_start": [{}, {"per_replica": True}]}, "services.web.1.pre_start[1].per_replica"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(service: Any, named: str) -> None:
    with pytest.raises(UnsupportedKeyError) as caught:
        definition(service)
    assert caught.value.fields["key"] == named
    assert str(caught.value).partition(": ")[2]
    assert caught.value.hint


def test_what_asks_for_nothing_is_not_refused() -> None:
    definition({"models": {}, "pre_start": [{"per_replica": False}], "deploy": {"mode": "replicated"}})


WITHOUT_EFFECT: dict[str, dict[str, Any]] = {
    "develop": {"develop": {"watch": []}},
    "credential_spec": {"credential_spec": {"file": "x"}},
    "pull_refresh_after": {"pull_refresh_after": "2h"},
    "deploy.mode: global": {"deploy": {"mode": "global"}},
    "deploy.mode: replicated-job": {"deploy": {"mode": "replicated-job"}},
    "deploy.labels": {"deploy": {"labels": {"a": "b"}}},
    "deploy.endpoint_mode": {"deploy": {"endpoint_mode": "vip"}},
    "deploy.placement": {"deploy": {"placement": {"constraints": ["a==b"]}}},
    "deploy.update_config": {"deploy": {"update_config": {"order": "start-first"}}},
    "deploy.rollback_config": {"deploy": {"rollback_config": {"order": "start-first"}}},
    "deploy.restart_policy.delay": {"deploy": {"restart_policy": {"delay": "5s"}}},
    "deploy.restart_policy.window": {"deploy": {"restart_policy": {"window": "5s"}}},
    "deploy.resources.reservations.cpus": {"deploy": {"resources": {"reservations": {"cpus": 1}}}},
    "ports[0].mode: host": {"ports": [{"target": 1, "mode": "host"}]},
    "secrets[0].uid": {"secrets": [{"source": "s", "uid": "1"}]},
}


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_told_of(key: str) -> None:
    found = definition(WITHOUT_EFFECT[key], secrets={"s": {"name": "shop_s", "file": "/project/x"}})
    assert [one for one in found.notices if one.startswith(f"services.web.1.{key}: ")] == list(found.notices)
    assert len(found.notices) == 1


def test_what_the_default_is_needs_no_word() -> None:
    usual = {"deploy": {"mode": "replicated", "placement": {}}, "ports": [{"target": 1, "mode": "ingress"}]}
    written = {"secrets": [{"source": "s", "uid": "1"}]}  # into the container, by us: with its owner
    assert definition({**usual, **written}, secrets={"s": {"environment": "X"}}).notices == ()


def test_jobs_are_no_part_of_a_stack() -> None:
    found = definition({}, jobs={"nightly": {"image": "x", "triggers": {"manual": True}}})
    assert [notice.partition(": ")[0] for notice in found.notices] == ["jobs.nightly"]


def test_what_compose_ignores_is_told_once() -> None:
    config = {"name": "shop", "services": {"web": {"image": "x", "deploy": {"labels": {"a": "b"}}}}}
    said = ["services.web.deploy.labels: they say", "services.web.volumes[v].type: they say too"]
    found = reading.read_definition(config, config, {}, {}, SOURCE, ignored=said)
    assert [notice.partition(": ")[0] for notice in found.notices] == [
        "services.web.deploy.labels",
        "services.web.volumes[v].type",
    ]


def test_the_engine_s_socket_is_told_of() -> None:
    (notice,) = definition({"use_api_socket": True}).notices
    assert "root on this machine" in notice
