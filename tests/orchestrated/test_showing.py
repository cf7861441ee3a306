"""What a run of the worker leaves in Prefect: progress that moves, services, timeline, failure, events."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api
from tests.orchestrated.conftest import create_run, state_of, wait_for, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]

SECRET = "tops3cret-Value-in-the-log"
SLOW = """
    services:
      web:
        image: '{image}'
        init: true
        ports: ['8000']
        command: [sh, -c, 'sleep 5; mkdir /w; echo here > /w/index.html; httpd -f -p 8000 -h /w']
        x-moorage: {{ready: {{http: /}}}}
"""


def artifacts(address: HubAddress, run: str) -> dict[str, dict[str, Any]]:
    """The artifacts of a flow run: the last part of their key → artifact."""
    found = api.call(address, "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    return {one["key"].rpartition("-")[2]: one for one in found or () if one["key"]}


def events(address: HubAddress, stack: str) -> dict[str, dict[str, Any]]:
    """The events of a stack: last word of their name → event. They are persisted some seconds late."""
    body = {"filter": {"event": {"prefix": ["moorage.stack."]}}, "limit": 50}
    found = api.call(address, "POST", "/events/filter", body)["events"]
    return {one["event"].rpartition(".")[2]: one for one in found if one["resource"]["moorage.stack"] == stack}


def test_a_run_shows_its_progress_and_what_came_of_it(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    project.compose(SLOW.format(image=tiny_image))
    run = create_run(hub_address, "up", path=str(project.path))
    moved: list[tuple[float, str]] = []
    while state_of(hub_address, run)["type"] in ("SCHEDULED", "PENDING", "RUNNING"):
        if "progress" in (found := artifacts(hub_address, run)):
            seen = (found["progress"]["data"], found["progress"]["description"])
            if not moved or moved[-1] != seen:
                moved.append(seen)
        time.sleep(0.2)
    assert wait_for_state(hub_address, run, "COMPLETED")
    assert len(moved) >= 3, "5 seconds of waiting, and it moved every second"
    assert [part for part, _ in moved] == sorted(part for part, _ in moved)
    assert any("ready web (" in words for _, words in moved)
    wait_for(lambda: "timeline" in artifacts(hub_address, run))
    shown = artifacts(hub_address, run)
    assert shown["progress"]["data"] == 100.0
    (row,) = json.loads(shown[project.name.rpartition("-")[2]]["data"])
    assert row["service"] == "web"
    assert row["image"] == tiny_image
    assert float(row["time to ready"].removesuffix(" s")) >= 4
    url = row["URL"].partition("(")[2].rstrip(")")
    assert urllib.request.urlopen(url, timeout=60).read() == b"here\n"
    assert url.rpartition(":")[2] in row["port"]
    assert "ready web" in shown["timeline"]["data"]
    wait_for(lambda: "ready" in events(hub_address, project.name))
    ready = events(hub_address, project.name)["ready"]
    assert f"prefect.flow-run.{run}" in {one["prefect.resource.id"] for one in ready["related"]}
    assert {"service", "flow-run", "deployment"} <= {one["prefect.resource.role"] for one in ready["related"]}
    assert ready["payload"]["ports"] == {"web": [int(url.rpartition(":")[2])]}
    down = create_run(hub_address, "down", stack=project.name, volumes=True, release_ports=True)
    wait_for_state(hub_address, down, "COMPLETED")
    wait_for(lambda: "stopped" in events(hub_address, project.name))


def test_a_failed_run_says_why_and_what_was_undone(
    hub_address: HubAddress, project: Project, tiny_image: str, machine_state: MachineState
) -> None:
    project.compose(
        f"""
        services:
          db: {{image: '{tiny_image}', command: sleep 3600, init: true}}
          web:
            image: '{tiny_image}'
            environment: {{API_TOKEN: '{SECRET}'}}
            command: [sh, -c, 'echo last words with $$API_TOKEN; exit 7']
            depends_on: [db]
        """
    )
    run = create_run(hub_address, "up", path=str(project.path))
    wait_for_state(hub_address, run, "FAILED")
    machine_state.assert_same()
    wait_for(lambda: "failure" in artifacts(hub_address, run))
    failure = artifacts(hub_address, run)["failure"]["data"]
    assert "NotReadyError" in failure
    assert "last words with ****" in failure
    assert "- Exit code: 7" in failure
    assert "### What was undone" in failure
    assert "`remove db`" in failure
    assert "undone: nothing of this run is left" in failure
    wait_for(lambda: "failed after" in artifacts(hub_address, run)["progress"]["description"])
    progress = artifacts(hub_address, run)["progress"]
    assert progress["data"] < 90
    assert f"{progress['data']:.0f} % of its steps done" in progress["description"]
    wait_for(lambda: "timeline" in artifacts(hub_address, run))
    assert SECRET not in json.dumps(artifacts(hub_address, run))
    wait_for(lambda: "failed" in events(hub_address, project.name))
    failed = events(hub_address, project.name)["failed"]
    assert failed["payload"]["reason"] == "exited"
    assert failed["payload"]["undone"] is True
    assert SECRET not in json.dumps(failed)
    names = [one["prefect.resource.name"] for one in failed["related"] if one["prefect.resource.role"] == "service"]
    assert names == ["web"]
