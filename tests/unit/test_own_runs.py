"""What a run of our flows may be told: whose a deployment is, and which job variables it must not have."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.hub.forms import closed
from moorage.hub.own_runs import Deployed, check_job_variables, own_entrypoint
from moorage.hub.project import flow_names, project_directory

STAY = {"prefect.deployments.steps.set_working_directory": {"directory": "."}}
SHELL = {"prefect.deployments.steps.run_shell_script": {"script": "id"}}


def deployment(
    name: str, entrypoint: str | None, *pull_steps: Any, flow: str = "up", pool: str = "moorage"
) -> Deployed:
    return Deployed(name=name, flow=flow, pool=pool, entrypoint=entrypoint, pull_steps=pull_steps)


@pytest.mark.parametrize("name", ["up", "up.host-b", "shop-production"])
@pytest.mark.parametrize(
    "entrypoint",
    [
        "flows/up.py:up",
        "./flows/../flows/up.py:up",
        f"{project_directory()}/flows/up.py:up",
        "flows.up.up",
        "flows.up:up",
    ],
)
def test_it_is_ours_whatever_it_is_called(name: str, entrypoint: str) -> None:
    found = own_entrypoint(deployment(name, entrypoint, STAY, pool="host-b"))
    assert found == f"{project_directory()}/flows/up.py:up"


@pytest.mark.parametrize("flow", flow_names())
def test_so_is_every_flow(flow: str) -> None:
    assert own_entrypoint(deployment(flow, f"flows/{flow}.py:{flow}", STAY, flow=flow))


ELSEWHERE = [
    ("flows/mine.py:mine", [STAY]),
    ("flows/up.py:down", [STAY]),
    ("/srv/app/flows/up.py:up", [STAY]),
    ("", []),
    (None, []),
    ("flows/up.py:up", [SHELL]),
    ("flows/up.py:up", [STAY, SHELL]),
    ("flows/up.py:up", [{**STAY, **SHELL}]),
    ("flows/up.py:up", [{name: {**inputs, "requires": "some-package"} for name, inputs in STAY.items()}]),
    ("flows/up.py:up", [{"prefect.deployments.steps.set_working_directory": {"directory": "/srv/app"}}]),
]


@pytest.mark.parametrize(("entrypoint", "steps"), ELSEWHERE)
def test_what_leads_elsewhere_is_somebody_elses_unless_it_bears_our_name(
    entrypoint: str | None, steps: list[Any]
) -> None:
    assert own_entrypoint(deployment("shop", entrypoint, *steps)) is None
    assert own_entrypoint(deployment("up", entrypoint, *steps, flow="check")) is None
    for name, pool in (("up", "moorage"), ("up.host-b", "host-b")):
        with pytest.raises(
            DefinitionError, match=f"deployment up/{name}: .* is not Moorage's flow; it was not started"
        ):
            own_entrypoint(deployment(name, entrypoint, *steps, pool=pool))


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"command": "sh -c id"}, "command"),
        ({"working_dir": "/tmp"}, "working_dir"),
        ({"env": {"MOORAGE_HOME": "/tmp/hunter2", "A": "1"}}, "env.A, env.MOORAGE_HOME"),
        ({"env.MOORAGE_HOME": "/tmp/hunter2"}, "env.MOORAGE_HOME"),
        ({"env": "{{ $HOME }}"}, "env"),
        ({"env": {"A": None}}, "env.A"),
    ],
)
def test_what_would_change_what_is_run_is_refused_by_name(variables: dict[str, Any], named: str) -> None:
    ours = deployment("up", "flows/up.py:up", STAY)
    for given in ((variables, None), ({}, variables), ({"stream_output": False}, variables)):
        with pytest.raises(DefinitionError, match=f"job_variables: {named}: only the hub says") as refused:
            check_job_variables(ours, *given)
        assert "hunter2" not in str(refused.value)


def test_what_changes_nothing_is_not() -> None:
    nothing: dict[str, Any] = {"command": None, "env": {}, "working_dir": ""}
    check_job_variables(
        deployment("up", "flows/up.py:up", STAY), None, {}, nothing, {"name": "x", "labels": {"a": "b"}}
    )


def test_a_form_is_closed_at_every_depth_and_a_map_stays_one() -> None:
    schema = {
        "type": "object",
        "properties": {
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "properties": {"type": "string"},
            "ports": {"anyOf": [{"type": "object", "properties": {"first": {"type": "integer"}}}, {"type": "null"}]},
        },
        "definitions": {"Kind": {"type": "string", "enum": ["a"]}, "Of": {"type": "object", "properties": {}}},
    }
    found = closed(schema)
    assert found["additionalProperties"] is False
    assert found["properties"]["env"] == schema["properties"]["env"]
    assert found["properties"]["ports"]["anyOf"][0]["additionalProperties"] is False
    assert found["definitions"]["Of"]["additionalProperties"] is False
    assert found["definitions"]["Kind"] == schema["definitions"]["Kind"]
    assert closed(found) == found
