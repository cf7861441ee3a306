"""A fleet: many stacks in one run, one row and one subflow a stack; one that fails stops no other."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api
from tests.conftest import Project
from tests.orchestrated.conftest import PATIENCE_S, create_run, wait_for, wait_for_state

if TYPE_CHECKING:
    from pathlib import Path

    import docker

    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(600)]

WELL = """
    services:
      db:
        image: {image}
        command: [sleep, "1000"]
        stop_grace_period: 0s
"""
ILL = """
    services:
      db:
        image: {image}
        command: [sh, -c, "echo out of luck; exit 3"]
        healthcheck: {{test: [CMD, "true"], interval: 1s}}
"""


class Fleet:
    """Some projects beside each other."""

    def __init__(self, place: Path, prefix: str, client: docker.DockerClient, image: str) -> None:
        self.prefix, self._client = prefix, client
        self.here = Project(place, prefix)
        for name, text in (("a", WELL), ("b", ILL), ("c", WELL)):
            directory = place / f"{prefix}-{name}"
            directory.mkdir()
            Project(directory, directory.name).compose(text.format(image=image))

    @property
    def pattern(self) -> str:
        return str(self.here.path / f"{self.prefix}-*")

    def moorage(self, verb: str, *more: str, exit_code: int = 0) -> Any:
        return self.here.moorage("fleet", verb, self.pattern, "--json", *more, exit_code=exit_code).json

    def up(self) -> list[str]:
        """Last parts of the names of stacks that have a container."""
        found = self._client.api.containers(filters={"label": "com.docker.compose.project"})
        stacks = {one["Labels"]["com.docker.compose.project"] for one in found}
        return sorted(name.removeprefix(f"{self.prefix}-") for name in stacks if name.startswith(self.prefix))

    def states(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        return {row["stack"].removeprefix(f"{self.prefix}-"): row["state"] for row in rows}


@pytest.fixture
def fleet(
    tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient, machine_state: MachineState, tiny_image: str
) -> Fleet:
    return Fleet(tmp_path, stack_prefix, docker_client, tiny_image)


def subflows(address: HubAddress, flow_run: str) -> list[tuple[str, str]]:
    """Names and states of the flow runs that a flow run has called."""
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [flow_run]}}}
    found = api.call(address, "POST", "/flow_runs/filter", wanted)
    return sorted((one["name"], one["state_type"]) for one in found)


def test_up_status_down(fleet: Fleet, hub_address: HubAddress) -> None:
    failed = fleet.moorage("up", exit_code=5)
    assert fleet.states(failed["rows"]) == {"a": "running", "b": "failed", "c": "running"}
    assert "1 of 3 stacks failed" in failed["message"]
    assert fleet.up() == ["a", "c"], "the one that failed is undone"

    again = fleet.here.moorage("fleet", "up", fleet.pattern, exit_code=5)
    assert "3 stacks, 1 failed" in again.stdout
    assert "out of luck" in again.stderr or "exit code 3" in again.stderr, again.stderr

    assert fleet.states(fleet.moorage("status")) == {"a": "running", "c": "running"} | {
        str(fleet.here.path / f"{fleet.prefix}-b"): "absent"
    }
    down = fleet.moorage("down", "--volumes", "--release-ports")
    assert {row["state"] for row in down} == {"absent"}
    assert fleet.up() == []


def test_a_run_of_the_worker_has_a_subflow_a_stack(fleet: Fleet, hub_address: HubAddress) -> None:
    asked: dict[str, Any] = {"verb": "up", "paths": [fleet.pattern], "at_once": 2}
    run = create_run(hub_address, "fleet", **asked)
    state = wait_for_state(hub_address, run, "FAILED")
    assert "1 of 3 stacks failed" in state["message"]
    expected = [
        (f"up {fleet.prefix}-{name}", ended)
        for name, ended in zip("abc", ("COMPLETED", "FAILED", "COMPLETED"), strict=True)
    ]
    wait_for(lambda: subflows(hub_address, run) == expected, PATIENCE_S)
    made = api.call(hub_address, "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    assert [one["key"] for one in made if one["key"]] == ["moorage-fleet"]  # without keys: what Prefect makes

    run = create_run(hub_address, "fleet", **(asked | {"verb": "down", "release_ports": True}))
    wait_for_state(hub_address, run, "COMPLETED")
    assert fleet.up() == []


def test_interrupted_all_of_it_is_undone(fleet: Fleet, hub_address: HubAddress, tiny_image: str) -> None:
    waits = WELL + "        healthcheck: {{test: [CMD, test, -e, /never], interval: 1s, start_period: 1h}}\n"
    for name in "abc":
        directory = fleet.here.path / f"{fleet.prefix}-{name}"
        Project(directory, directory.name).compose(waits.format(image=tiny_image))
    going = fleet.here.start("fleet", "up", fleet.pattern, "--at-once", "2")
    wait_for(lambda: len(fleet.up()) == 2, PATIENCE_S)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=240)
    assert going.returncode == 130, said
    assert fleet.up() == []
    fleet.moorage("down", "--volumes", "--release-ports")


def test_without_a_hub_a_fleet_can_be_taken_down(fleet: Fleet, hub_address: HubAddress) -> None:
    fleet.here.moorage("fleet", "up", f"{fleet.pattern[:-1]}[ac]")
    nobody = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    ended = fleet.here.moorage("fleet", "down", fleet.pattern, "--json", **nobody)
    assert {row["state"] for row in ended.json} == {"absent"}
    assert fleet.up() == []
    fleet.moorage("down", "--volumes", "--release-ports")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["up"], "no directory is named"),
        (["up", "gone"], "is not a directory"),
        (["status", "--list", "gone"], "gone"),
        (["down", "x*"], "no directory with a compose file matches"),
        (["up", ".", "--at-once", "0"], "--at-once"),
    ],
)
def test_what_cannot_be_meant_is_refused(project: Project, asked: list[str], said: str) -> None:
    assert said in project.moorage("fleet", *asked, exit_code=2).stderr
