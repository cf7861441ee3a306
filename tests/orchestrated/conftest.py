"""A hub for flows: the real Prefect server and worker, in the home of this test process, stopped when the tests end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.hub import api, deployments
from moorage.hub.address import HubAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def hub(
    *args: str, home: Path | None = None, exit_code: int | None = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `moorage hub ARGS` to its end; fails the test on another exit code (None: any will do)."""
    own = {"MOORAGE_HOME": str(home)} if home else {}
    command = [str(Path(sys.executable).with_name("moorage")), "hub", *args]
    done = subprocess.run(command, env=os.environ | own | env, capture_output=True, text=True, check=False, timeout=110)
    assert exit_code is None or done.returncode == exit_code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def address_in(status: dict[str, Any], auth: str | None = None) -> HubAddress:
    """The address that `moorage hub status --json` tells."""
    return HubAddress(api_url=status["api_url"], ui_url=status["ui_url"], managed=status["managed"], auth=auth)


@pytest.fixture(scope="session")
def hub_address() -> Iterator[HubAddress]:
    """The address of a running hub: server, worker, deployments; $MOORAGE_HOME is that of this test process."""
    yield address_in(json.loads(hub("start", "--json").stdout))
    hub("stop", "--timeout", "5")


def create_run(address: HubAddress, deployment: str, **parameters: Any) -> str:
    """Trigger a deployment as the UI does; gives the id of the flow run."""
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    found = deployments.found_on(address)[deployment]
    made: dict[str, Any] = api.call(address, "POST", f"/deployments/{found}/create_flow_run", body)
    return str(made["id"])


def state_of(address: HubAddress, flow_run: str) -> dict[str, Any]:
    """The state of a flow run."""
    state: dict[str, Any] = api.call(address, "GET", f"/flow_runs/{flow_run}")["state"]
    return state


def wait_for_state(address: HubAddress, flow_run: str, *types: str, timeout_s: float = 60) -> dict[str, Any]:
    """Wait until a flow run is in one of these states, else fail."""
    deadline = time.monotonic() + timeout_s
    while (state := state_of(address, flow_run))["type"] not in types:
        assert state["type"] not in ENDED, f"ended otherwise: {state}"
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.1)
    return state
