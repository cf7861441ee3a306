"""Requests that a command carries out without the hub too: a flow's parameters are their fields, by the same names."""

from __future__ import annotations

import inspect

import pytest

from moorage.hub.project import load_flow
from moorage.model import request

REQUESTS = {
    "down": request.DownRequest,
    "stop": request.StopRequest,
    "start": request.StartRequest,
    "restart": request.RestartRequest,
    "sweep": request.SweepRequest,
    "fleet": request.FleetRequest,
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_parameters_of_a_flow_are_the_fields_of_its_request(name: str) -> None:
    assert set(inspect.signature(load_flow(name).fn).parameters) == set(REQUESTS[name].model_fields)
