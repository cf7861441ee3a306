"""References to a `container_name` find the container that has another name here."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from moorage.rules import references

WAITS = {"condition": "service_started", "restart": True, "required": True}
MOUNTS = {**WAITS, "restart": False}
NAMED = {"vpn": {"container_name": "gate"}, "other": {}}

FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        f"{key} of {name}": (
            {key: f"container:{name}"},
            {key: f"service:{service}", "depends_on": {service: WAITS}},
        )
        for key in ("network_mode", "pid", "ipc")
        for name, service in (("gate", "vpn"), ("shop-other-1", "other"), ("file-other-1", "other"))
    },
    **{
        f"volumes_from {written}": (
            {"volumes_from": [written]},
            {"volumes_from": [wanted], "depends_on": {"vpn": MOUNTS}},
        )
        for written, wanted in (
            ("container:gate", "vpn"),
            ("container:gate:ro", "vpn:ro"),
            ("container:gate:rw", "vpn:rw"),
        )
    },
    "external link": ({"external_links": ["gate"]}, {"links": ["vpn:gate"], "depends_on": {"vpn": WAITS}}),
    "external link with alias": ({"external_links": ["gate:g"]}, {"links": ["vpn:g"], "depends_on": {"vpn": WAITS}}),
    "links of both kinds": (
        {"external_links": ["gate:g", "far:f"], "links": ["other:o"]},
        {"external_links": ["far:f"], "links": ["other:o", "vpn:g"], "depends_on": {"vpn": WAITS}},
    ),
    "two at once": (
        {"network_mode": "container:gate", "pid": "container:gate"},
        {"network_mode": "service:vpn", "pid": "service:vpn", "depends_on": {"vpn": WAITS}},
    ),
    "what is waited for keeps its condition": (
        {"ipc": "container:gate", "depends_on": {"vpn": {"condition": "service_healthy"}}},
        {"ipc": "service:vpn", "depends_on": {"vpn": {"condition": "service_healthy"}}},
    ),
    "of an init container": (
        {"pre_start": [{"network_mode": "container:gate"}, {"volumes_from": ["container:shop-other-1:ro"]}]},
        {
            "pre_start": [{"network_mode": "service:vpn"}, {"volumes_from": ["other:ro"]}],
            "depends_on": {"vpn": WAITS, "other": MOUNTS},
        },
    ),
    **{
        f"left alone: {key} {value}": ({key: value}, {key: value})
        for key, value in {
            "network_mode": "container:somebody",
            "pid": "host",
            "ipc": "shareable",
            "volumes_from": ["vpn:ro", "container:somebody"],
            "external_links": ["far"],
            "links": ["vpn"],
            "uts": "host",
        }.items()
    },
    "a name that only begins so": ({"pid": "container:gate2"}, {"pid": "container:gate2"}),
    "the second of its kind": ({"pid": "container:shop-other-2"}, {"pid": "container:shop-other-2"}),
    "a name that it would have without another": (
        {"pid": "container:shop-vpn-1"},
        {"pid": "service:vpn", "depends_on": {"vpn": WAITS}},
    ),
    "a service of its own": ({"network_mode": "service:vpn"}, {"network_mode": "service:vpn"}),
    "its own container": ({"pid": "container:mine", "container_name": "mine"},) * 2,
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_reference(form: str) -> None:
    written, wanted = FORMS[form]
    config = {"services": {**copy.deepcopy(NAMED), "app": copy.deepcopy(written)}}
    references.follow(config, {"shop", "file"})
    assert config["services"]["app"] == wanted


def test_the_forms_are_enough() -> None:
    assert len(FORMS) >= 30, len(FORMS)
