"""A start as Prefect records it: one flow run, a graph of readable task runs, a log that tells the story."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api
from tests.orchestrated.conftest import address_in

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(600)]

TWO_SERVICES = """
    services:
      db:
        image: {image}
        command: [sleep, "1000"]
        stop_grace_period: 1s
        healthcheck: {{test: [CMD, "true"], interval: 5s}}
      web:
        image: {image}
        command: [httpd, -f, -p, "80"]
        ports: ["80"]
        stop_grace_period: 1s
        depends_on: {{db: {{condition: service_healthy}}}}
"""
WANTED = {"lease", "create", "start db", "ready db", "start web", "ready web"}


def ask(address: HubAddress, path: str, **body: Any) -> Any:
    """POST to the Prefect API."""
    return api.call(address, "POST", path, body)


def task_runs(address: HubAddress, flow_run_id: str, names: set[str]) -> dict[str, Any]:
    """The task runs of a flow run by name; recorded in the background, so we wait until all are there."""
    deadline = time.monotonic() + 240
    while True:
        found = ask(address, "/task_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}})
        by_name = {run["name"]: run for run in found}
        ended = all(run["state_type"] in ("COMPLETED", "FAILED", "CRASHED") for run in by_name.values())
        if (names <= set(by_name) and ended) or time.monotonic() > deadline:
            return by_name
        time.sleep(0.2)


def hub_api(project: Project) -> HubAddress:
    """The Prefect API that `up` started."""
    return address_in(project.moorage("hub", "status", "--json", "--show-secrets").json)


def test_the_run_and_its_task_graph_are_in_the_api(project: Project, tiny_image: str) -> None:
    project.compose(TWO_SERVICES.format(image=tiny_image))
    answer = project.moorage("up", "--json").json
    address, run_id = hub_api(project), answer["flow_run_id"]
    found = task_runs(address, run_id, WANTED)
    assert set(found) == WANTED
    assert {run["state_type"] for run in found.values()} == {"COMPLETED"}
    flow_run = api.call(address, "GET", f"/flow_runs/{run_id}")
    assert flow_run["name"] == f"up {project.name}"
    assert flow_run["state_type"] == "COMPLETED"
    waited_for = {run["id"] for name in ("ready db", "create") for run in [found[name]]}
    named = {entry["id"] for entry in found["start web"]["task_inputs"]["wait_for"]}
    assert waited_for <= named, "the graph has the true dependencies"


def test_the_command_prints_the_link_of_its_run(project: Project, tiny_image: str) -> None:
    project.compose(TWO_SERVICES.format(image=tiny_image))
    done = project.moorage("up")
    ui_url = project.moorage("hub", "status", "--json").json["ui_url"]
    assert f"{ui_url}/runs/flow-run/" in done.stdout + done.stderr
    again = project.moorage("up", "--json").json
    assert again["flow_run_id"] is None
    assert again["changed"] == []


def test_a_failed_run_shows_its_undo(project: Project, tiny_image: str, machine_state: MachineState) -> None:
    text = TWO_SERVICES.format(image=tiny_image).replace('[httpd, -f, -p, "80"]', '[sh, -c, "echo last words; exit 7"]')
    project.compose(text)
    failed = project.moorage("up", "--json", exit_code=5).json
    assert failed["service"] == "web"
    assert failed["reason"] == "exited"
    assert failed["exit_code_of_service"] == 7
    assert "last words" in failed["log"]
    assert failed["undone"] is True
    machine_state.assert_same()
    address = hub_api(project)
    runs = ask(address, "/flow_runs/filter", flow_runs={"name": {"any_": [f"up {project.name}"]}})
    assert [run["state_type"] for run in runs] == ["FAILED"]
    found = task_runs(address, runs[0]["id"], {"remove db", "remove web"})
    assert found["ready web"]["state_type"] == "FAILED"
    assert {found[name]["state_type"] for name in ("remove db", "remove web")} == {"COMPLETED"}
    assert found["start db"]["state_type"] == "COMPLETED"


def test_the_log_of_the_run_tells_the_story(project: Project, tiny_image: str) -> None:
    project.compose(TWO_SERVICES.format(image=tiny_image))
    run_id = project.moorage("up", "--json").json["flow_run_id"]
    address, deadline = hub_api(project), time.monotonic() + 240
    while time.monotonic() < deadline:
        lines = ask(address, "/logs/filter", logs={"flow_run_id": {"any_": [run_id]}}, limit=200)
        told = [line["message"] for line in lines if line["name"].startswith("moorage")]
        if any(line.startswith("ready web: ready") for line in told):
            break
        time.sleep(0.2)
    assert any(line.startswith("start db: started (") for line in told)
    assert any(line.startswith("ready web: ready (") for line in told)
