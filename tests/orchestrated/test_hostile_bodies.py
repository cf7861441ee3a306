"""Sixty hostile bodies to a real hub: the server refuses the form, or the run ends with a sentence; nothing is left.

Whoever has the hub's secret may send whatever the API takes: a form that the browser would not let through is checked
by the server, and what passes its schema by the flow.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployed
from tests.counts import COUNTS
from tests.orchestrated.conftest import authorization

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState

pytestmark = [pytest.mark.orchestrated, pytest.mark.engine, pytest.mark.timeout(600)]

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
HUGE = "x" * (1 << 20)
OF_A_STACK = ("down", "start", "stop", "restart", "rollback", "health")
NAMES = {
    "a line break at its end": "a\n",
    "a NUL": "a\0b",
    "upwards": "../../etc",
    "half a character": "a\ud800",
    "written backwards": "a\u202eb",
    "a megabyte": HUGE,
    "an option": "--volumes",
    "nothing but a space": " ",
}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{flow}: {what}": (flow, {"parameters": {"stack": name}})
        for flow, (what, name) in zip(OF_A_STACK * 2, [*NAMES.items()] * 2, strict=False)
    },
    **{f"up: a name with {what}": ("up", {"parameters": {"path": "/x", "name": name}}) for what, name in NAMES.items()},
    **{f"{flow}: a list for a name": (flow, {"parameters": {"stack": ["a"]}}) for flow in OF_A_STACK},
    "up: a path with a NUL": ("up", {"parameters": {"path": "/x\0y"}}),
    "up: a path of a device": ("up", {"parameters": {"path": "/dev/zero"}}),
    "up: a path that is not there": ("up", {"parameters": {"path": "/nowhere/at/all"}}),
    "up: a long path": ("up", {"parameters": {"path": "/" + "y" * 100_000}}),
    "up: half a character in a path": ("up", {"parameters": {"path": "/\udfff"}}),
    "up: a path that is a number": ("up", {"parameters": {"path": 7}}),
    "up: a path that is deep": ("up", {"parameters": {"path": DEEP}}),
    "up: files that lead out": ("up", {"parameters": {"path": "/x", "files": ["../../../etc/passwd"]}}),
    "up: files that are deep": ("up", {"parameters": {"path": "/x", "files": DEEP}}),
    "up: variables with NUL": ("up", {"parameters": {"path": "/x", "env": {"A\0": "b"}}}),
    "up: variables that are objects": ("up", {"parameters": {"path": "/x", "env": {"A": {"b": 1}}}}),
    "up: waits for ever": ("up", {"parameters": {"path": "/x", "wait_timeout_s": 1e308}}),
    "up: waits a negative time": ("up", {"parameters": {"path": "/x", "wait_timeout_s": -1}}),
    "up: lives a million years": ("up", {"parameters": {"path": "/x", "ttl": "9999999999d"}}),
    "up: lives for a line break": ("up", {"parameters": {"path": "/x", "ttl": "1h\n"}}),
    "up: another builder": ("up", {"parameters": {"path": "/x", "builder": "\u202eant"}}),
    "up: replicas without end": ("up", {"parameters": {"path": "/x", "scale": {"web": 10**18}}}),
    "up: a block that is none": ("up", {"parameters": {"stack": "../../blocks"}}),
    "up: a block with a line break": ("up", {"parameters": {"stack": "a\n"}}),
    "up: unknown parameters": ("up", {"parameters": {"path": "/x", "__class__": "x"}}),
    "up: parameters that are a list": ("up", {"parameters": ["/x"]}),
    "up: a template": ("up", {"parameters": {"path": {"__prefect_kind": "jinja", "template": "{{ 1/0 }}"}}}),
    "up: a reference to a variable": (
        "up",
        {"parameters": {"path": {"__prefect_kind": "workspace_variable", "variable_name": "none"}}},
    ),
    "up: another command": ("up", {"parameters": {"path": "/x"}, "job_variables": {"command": "sh -c 'exit 0'"}}),
    "up: another environment": ("up", {"parameters": {"path": "/x"}, "job_variables": {"env": {"LD_PRELOAD": "/x"}}}),
    "up: another directory": ("up", {"parameters": {"path": "/x"}, "job_variables": {"working_dir": "/etc"}}),
    "build: a path that is a file": ("build", {"parameters": {"path": "/etc/hostname"}}),
    "build: files that are a text": ("build", {"parameters": {"path": "/x", "files": "compose.yaml"}}),
    "down: services that lead out": ("down", {"parameters": {"stack": "nobody-here", "services": ["../x"]}}),
    "down: patience without end": ("down", {"parameters": {"stack": "nobody-here", "timeout_s": 1e300}}),
    "down: true as a text": ("down", {"parameters": {"stack": "nobody-here", "volumes": "DROP"}}),
    "stop: negative patience": ("stop", {"parameters": {"stack": "nobody-here", "timeout_s": -1e9}}),
    "rollback: to minus one": ("rollback", {"parameters": {"stack": "nobody-here", "to": -1}}),
    "rollback: far beyond": ("rollback", {"parameters": {"stack": "nobody-here", "to": 10**30}}),
    "rollback: to a fraction": ("rollback", {"parameters": {"stack": "nobody-here", "to": 1.5}}),
    "sweep: a text for a switch": ("sweep", {"parameters": {"dry_run": "perhaps"}}),
    "sweep: unknown": ("sweep", {"parameters": {"everything": True}}),
    "status: a line break": ("status", {"parameters": {"stack": "a\n"}}),
    "status: a NUL": ("status", {"parameters": {"stack": "\0"}}),
    "status: a number": ("status", {"parameters": {"stack": 1}}),
}
IN_CI = ("down: a line break at its end", "up: a name with a line break at its end", "up: a path with a NUL")
REFUSED = (400, 404, 409, 413, 422)
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def sent(address: HubAddress, flow: str, body: dict[str, Any]) -> tuple[int, Any]:
    """The server's answer: status, and the JSON or the text in it."""
    url = f"{address.api_url}/deployments/{deployed.found_on(address)[flow]}/create_flow_run"
    data = json.dumps(body | {"state": {"type": "SCHEDULED"}}).encode()
    headers = {"Content-Type": "application/json", "Authorization": authorization(address)}
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error as answer:
            return error.code, answer.read().decode(errors="replace")


def end_of(address: HubAddress, flow_run: str) -> dict[str, Any]:
    """The last state of a flow run, whichever it is."""
    while True:
        state: dict[str, Any] = api.call(address, "GET", f"/flow_runs/{flow_run}")["state"]
        if state["type"] in _ENDED:
            return state
        time.sleep(0.3)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in IN_CI else pytest.mark.exhaustive, id=one) for one in BODIES]
)
def test_it_is_refused_by_the_server_or_by_the_run(
    name: str, hub_address: HubAddress, machine_state: MachineState, record_property: Any
) -> None:
    flow, body = BODIES[name]
    status, answer = sent(hub_address, flow, body)
    if status in REFUSED:
        how = "refused by the server"
        assert "Traceback" not in str(answer)
    else:
        assert status == 201, f"{status}: {str(answer)[:500]}"
        state = end_of(hub_address, answer["id"])
        message = str(state["message"])
        how = f"{state['type'].lower()} with a sentence"
        assert state["type"] in ("FAILED", "CRASHED") or flow in ("down", "status"), state
        assert 0 < len(message) < 8192 or state["type"] == "COMPLETED"
        assert "Traceback" not in message
        assert not {"\0", "\u202e", "\x1b"} & {*message}, ascii(message)
    machine_state.assert_same()
    assert Path("/etc/hostname").exists()
    record_property(COUNTS, {"of": "hostile REST bodies", "how": {how: 1}})


def test_there_are_sixty_of_them() -> None:
    assert len(BODIES) >= 60
    assert set(IN_CI) <= {*BODIES}
