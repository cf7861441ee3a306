"""A hub for flows: the real Prefect server and worker, in the home of all test processes, stopped when the tests end."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from moorage.hub import api, deployed, worker
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome
from moorage.settings import settings
from tests.conftest import Finished, run_moorage

PATIENCE_S = 240.0
"""For whatever has to happen: on a busy machine all of it takes many times as long, and none of it is measured."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def hub(*args: str, home: Path | None = None, exit_code: int | None = 0, **env: str) -> Finished:
    """Run `moorage hub ARGS` to its end; fails the test on another exit code (None: any will do)."""
    own = {"MOORAGE_HOME": str(home)} if home else {}
    done = run_moorage("hub", *args, directory=Path.cwd(), timeout_s=500, **(own | env))
    assert exit_code is None or done.returncode == exit_code, str(done)
    return done


def address_in(status: dict[str, Any], auth: str | None = None) -> HubAddress:
    """The address that `moorage hub status --json --show-secrets` tells. `auth`: in place of the secret there."""
    return HubAddress(
        api_url=status["api_url"], ui_url=status["ui_url"], managed=status["managed"], auth=auth or status["auth"]
    )


@pytest.fixture(scope="session")
def hub_address(shared_api_url: str) -> HubAddress:
    """The address of the hub that all test processes share: server, worker, deployments. It stops with the last of them.

    `$MOORAGE_HOME` is theirs as well as the hub's.
    """
    found = address_in(json.loads(hub("status", "--json", "--show-secrets").stdout))
    assert found.api_url == shared_api_url
    return found


def create_run(
    address: HubAddress, deployment: str, job_variables: dict[str, Any] | None = None, /, **parameters: Any
) -> str:
    """Trigger a deployment as the UI does; gives the id of the flow run."""
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "job_variables": job_variables or {}}
    found = deployed.found_on(address)[deployment]
    made: dict[str, Any] = api.call(address, "POST", f"/deployments/{found}/create_flow_run", body)
    return str(made["id"])


def state_of(address: HubAddress, flow_run: str) -> dict[str, Any]:
    """The state of a flow run."""
    state: dict[str, Any] = api.call(address, "GET", f"/flow_runs/{flow_run}")["state"]
    return state


def wait_for_state(address: HubAddress, flow_run: str, *types: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Wait until a flow run is in one of these states, else fail."""
    deadline = time.monotonic() + timeout_s
    while (state := state_of(address, flow_run))["type"] not in types:
        assert state["type"] not in ENDED, f"ended otherwise: {state}"
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.3)
    return state


class OwnHub:
    """A hub of one test, or seen by one: home and port. `start` and `stop` are the command."""

    def __init__(self, home: Path, port: int, env: dict[str, str] | None = None) -> None:
        self.home = home
        no_schedules = {"MOORAGE_SCHEDULES": "false"}  # no run that nobody asked for
        self.env = {"MOORAGE_HUB_PORT": str(port)} | (no_schedules if env is None else env)
        self.port = port
        self.folder = HubHome(home / "hub")

    def start(self, exit_code: int = 0, **env: str) -> dict[str, Any]:
        done = hub("start", "--json", home=self.home, exit_code=exit_code, **(self.env | env))
        record = self.folder.server()
        return json.loads(done.stdout) | {"said": done.stderr, "auth": record.auth if record else None}

    def serve(self, **env: str) -> subprocess.CompletedProcess[str]:
        """Only the server, as `moorage up` does it."""
        code = "from moorage.hub import control; print(control.ensure_server(print).ui_url)"
        return python(code, self.home, MOORAGE_HOME=str(self.home), **(self.env | env))

    def status(self, **env: str) -> dict[str, Any]:
        options = ("--json", "--show-secrets")
        return json.loads(hub("status", *options, home=self.home, exit_code=None, **(self.env | env)).stdout)

    def stop(self, timeout_s: float = 10, *args: str) -> str:
        return hub("stop", "--timeout", str(timeout_s), *args, home=self.home, **self.env).stderr

    def processes(self) -> dict[int, str]:
        """All processes that work for this home, by their environment: pid → command line."""
        mark = f"PREFECT_HOME={self.folder.prefect_home}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the tests that stop and crash hubs: its database is made once, which saves six seconds a test."""
    return tmp_path_factory.mktemp("own-hub")


@pytest.fixture
def own(own_home: Path, free_port: int) -> Iterator[OwnHub]:
    one = OwnHub(own_home, free_port)
    yield one
    one.stop(timeout_s=1)
    left = one.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.fixture
def free_port() -> int:
    # Below the range of outgoing connections, so that none takes it between our look and the server's.
    while True:
        port = 10_000 + secrets.randbelow(15_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@pytest.fixture
def with_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets variables for functions called in this process."""

    def put(**env: str) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        _forget_settings()

    yield put
    monkeypatch.undo()
    _forget_settings()


def _forget_settings() -> None:
    forget = getattr(settings, "cache_clear", None)
    if forget:
        forget()


def authorization(address: HubAddress) -> str:
    """The value of the header with which a program comes in."""
    return f"Basic {base64.b64encode(str(address.auth).encode()).decode()}"


def http_status(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    """Only the status, and the headers as they are given: what a browser would send."""
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def refused_page(address: HubAddress) -> str:
    """What a person sees who opens the UI and has not come in."""
    request = urllib.request.Request(address.ui_url, headers={"Accept": "text/html"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
    assert refused.value.code == 401
    with refused.value as answer:
        return answer.read().decode()


def python(code: str, cwd: Path, *path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {}
    return subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=cwd,
        env=os.environ | paths | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def run_of(hub_address: HubAddress, directory: Path, entrypoint: str, **parameters: Any) -> str:
    """Deploy a flow of this test to the worker and trigger it."""
    name = entrypoint.partition(":")[2]
    flow = api.call(hub_address, "POST", "/flows/", {"name": name})
    made = api.call(
        hub_address,
        "POST",
        "/deployments/",
        {
            "name": name,
            "flow_id": flow["id"],
            "entrypoint": entrypoint,
            "work_pool_name": worker.pool_name(),
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(directory)}}],
        },
    )
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    return str(api.call(hub_address, "POST", f"/deployments/{made['id']}/create_flow_run", body)["id"])


def binds(listener: socket.socket, port: int) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.3)
