"""The life of the hub: started, moved, crashed, replaced, stopped. Every server here is a real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moorage.hub import address, api, deployed, process
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import ServerRecord, WorkerRecord
from moorage.hub.process import ProcessRecord
from tests.killing import kill_9
from tests.orchestrated.conftest import (
    OwnHub,
    address_in,
    authorization,
    binds,
    create_run,
    hub,
    run_of,
    state_of,
    wait_for,
    wait_for_state,
)

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]


SLOW = """
import asyncio
from pathlib import Path
from prefect import flow

@flow
async def slow(trace: str):
    Path(trace).write_text("begun")
    try:
        await asyncio.sleep(60)
    except BaseException:
        Path(trace).write_text("begun undone")
        raise
"""

DEAF = """
import signal, time
from pathlib import Path
from prefect import flow

@flow
def deaf(trace: str):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(trace).write_text("begun")
    time.sleep(60)
"""


ALL = ["serve", "template_process", "worker_process"]


def parts(own: OwnHub) -> list[str]:
    """The programs of the hub's processes, each as often as it runs."""
    words = [line.rpartition(" -m moorage.hub.")[2].split() or [""] for line in own.processes().values()]
    return sorted(first for first, *_ in words)


def test_two_starts_at_once_make_one_hub_and_a_stop_leaves_none(own: OwnHub) -> None:
    command = [str(Path(sys.executable).with_name("moorage")), "hub", "start", "--json"]
    env = os.environ | own.env | {"MOORAGE_HOME": str(own.home)}
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    answers = [one.communicate(timeout=200) for one in both]
    assert [one.returncode for one in both] == [0, 0], answers
    first, second = (json.loads(out) for out, _ in answers)
    assert first["server"]["pid"] == second["server"]["pid"]
    assert first["worker"]["pid"] == second["worker"]["pid"]
    wait_for(lambda: parts(own) == ALL)
    assert sum("starting the Prefect server" in said for _, said in answers) == 1
    assert any("waiting for it" in said for _, said in answers)
    own.stop()
    assert own.processes() == {}
    own.stop()  # which is no error
    status = own.status()
    assert [status["server"]["state"], status["worker"]["state"], status["api_url"]] == ["stopped", "stopped", None]


def test_logs_rotate_while_the_server_runs(own: OwnHub) -> None:
    own.serve(MOORAGE_HUB_LOG_BYTES="65536")
    for log in (own.folder.server_log, own.folder.worker_log):
        with log.open("a") as file:
            file.writelines(f"{log.stem} {number}\n" for number in range(10_000))
    wait_for(lambda: max(own.folder.server_log.stat().st_size, own.folder.worker_log.stat().st_size) < 65536)
    assert own.status()["server"]["state"] == "running"
    said = hub("logs", "-n", "2", home=own.home, **own.env).stdout.splitlines()
    assert said == ["server | server 9998", "server | server 9999", "worker | worker 9998", "worker | worker 9999"]


@pytest.mark.exhaustive
def test_a_killed_server_is_reported_and_started_again(own: OwnHub) -> None:
    before = own.start()
    kill_9(before["server"]["pid"])
    crashed = own.status()
    assert crashed["server"]["state"] == "crashed"
    assert crashed["api_url"] is None
    after = own.start()
    assert "has died" in after["said"]
    assert after["api_url"] == before["api_url"]
    assert after["server"]["pid"] != before["server"]["pid"]
    assert after["worker"]["pid"] != before["worker"]["pid"], "what it knows of the secret is worth nothing any more"
    wait_for_state(address_in(after), create_run(address_in(after), "status"), "COMPLETED")


def test_a_killed_worker_is_reported_and_started_again(own: OwnHub) -> None:
    before = own.start()
    kill_9(before["worker"]["pid"])
    assert own.status()["worker"]["state"] == "crashed"
    late, taken = (create_run(address_in(before), "status") for _ in range(2))
    pending = {"state": {"type": "PENDING", "name": "Submitting"}, "force": True}
    api.call(address_in(before), "POST", f"/flow_runs/{taken}/set_state", pending)
    missed, last, other = (missed_run(address_in(before), minutes) for minutes in (9, 2, 7))
    after = own.start()
    assert "it is scheduled again" in after["said"]
    assert "skipped 1 scheduled runs that were missed" in after["said"]
    assert state_of(address_in(after), missed)["type"] == "CANCELLED"
    for run in (late, taken):
        wait_for_state(address_in(after), run, "COMPLETED")
    assert "CANCELLED" not in {state_of(address_in(after), run)["type"] for run in (last, other)}
    wait_for(lambda: parts(own) == ALL)
    assert after["server"]["pid"] == before["server"]["pid"]
    assert after["worker"]["state"] == "running"
    assert_led_back(own, address_in(after))


def assert_led_back(own: OwnHub, address: HubAddress) -> None:
    """A deployment that somebody has led elsewhere is not run; the next start deploys it again."""
    health = deployed.found_on(address)["health"]
    api.call(address, "PATCH", f"/deployments/{health}", {"entrypoint": "elsewhere.py:health"})
    run = api.call(address, "POST", f"/deployments/{health}/create_flow_run", {"parameters": {"stack": "shop"}})["id"]
    message = wait_for_state(address, run, "CRASHED")["message"]
    assert "deployment health/health: its entry point 'elsewhere.py:health' is not Moorage's flow" in message
    assert "deploying the flows" in own.start()["said"]
    assert deployed.found_on(address)["health"] == health


def missed_run(address: HubAddress, minutes: int) -> str:
    """A look of the schedule, so many minutes ago; the one of 7 minutes ago asks for more."""
    when = {"scheduled_time": (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()}
    body = {
        "tags": ["auto-scheduled"],
        "parameters": {"dry_run": True, "volumes": minutes == 7},
        "state": {"type": "SCHEDULED", "state_details": when},
    }
    sweep = deployed.found_on(address)["sweep"]
    return str(api.call(address, "POST", f"/deployments/{sweep}/create_flow_run", body)["id"])


def test_a_port_of_somebody_else_is_left_alone(own: OwnHub) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", own.port))
        listener.listen()
        said = own.serve().stdout
        status = own.status()
        assert f"port {own.port} is taken by " in said
        port = int(status["ui_url"].rpartition(":")[2])
        assert f"(pid {os.getpid()})" in said
        assert own.port < port < own.port + 200
        assert said.splitlines()[-1] == status["ui_url"]
        headers = {"Authorization": authorization(address_in(status))}
        asked = urllib.request.Request(f"{status['ui_url']}/ui-settings", headers=headers)
        ui = json.load(urllib.request.urlopen(asked, timeout=60))
        assert (ui["api_url"], ui["auth"]) == (status["api_url"], None), "the UI asks for no password of its own"


@pytest.mark.exhaustive
def test_a_server_that_comes_back_elsewhere_gets_a_new_worker(own: OwnHub) -> None:
    before = own.start()
    kill_9(before["server"]["pid"])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_for(lambda: binds(listener, own.port))
        listener.listen()
        after = own.start()
    assert after["api_url"] != before["api_url"]
    assert after["worker"]["pid"] != before["worker"]["pid"]
    wait_for_state(address_in(after), create_run(address_in(after), "status"), "COMPLETED")


@pytest.mark.exhaustive
def test_stop_lets_a_run_undo_what_it_did(own: OwnHub, tmp_path: Path) -> None:
    status = own.start()
    (tmp_path / "slow.py").write_text(SLOW)
    run = run_of(address_in(status), tmp_path, "slow.py:slow", trace=str(tmp_path / "trace"))
    wait_for((tmp_path / "trace").exists)
    name = api.call(address_in(status), "GET", f"/flow_runs/{run}")["name"]
    said = own.stop(timeout_s=20)
    assert f"interrupting {name} (Running): undone within 20 s, or killed" in said
    assert (tmp_path / "trace").read_text() == "begun undone"
    assert own.processes() == {}
    again = address_in(own.start())
    assert state_of(again, run)["type"] == "CRASHED", "the worker lived to record it"


@pytest.mark.exhaustive
def test_stop_can_wait_for_runs_and_begins_nothing_new(own: OwnHub, tmp_path: Path) -> None:
    address = address_in(own.start())
    (tmp_path / "slow.py").write_text(SLOW.replace("sleep(60)", "sleep(6)"))
    run = run_of(address, tmp_path, "slow.py:slow", trace=str(tmp_path / "trace"))
    wait_for((tmp_path / "trace").exists)
    command = [str(Path(sys.executable).with_name("moorage")), "hub", "stop", "--wait"]
    env = os.environ | own.env | {"MOORAGE_HOME": str(own.home)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stopping:
        assert stopping.stderr
        assert "waiting for " in stopping.stderr.readline()
        later = create_run(address, "sweep", dry_run=True)
        stopping.communicate(timeout=240)
    assert (tmp_path / "trace").read_text() == "begun"
    again = address_in(own.start())
    assert state_of(again, run)["type"] == "COMPLETED"
    wait_for_state(again, later, "COMPLETED")


@pytest.mark.exhaustive
def test_stop_ends_a_run_that_does_not_listen(own: OwnHub, tmp_path: Path) -> None:
    status = own.start()
    (tmp_path / "deaf.py").write_text(DEAF)
    run_of(address_in(status), tmp_path, "deaf.py:deaf", trace=str(tmp_path / "trace"))
    wait_for((tmp_path / "trace").exists)
    own.stop(timeout_s=1)
    assert own.processes() == {}


def test_ctrl_c_while_it_starts_leaves_nothing(own: OwnHub) -> None:
    command = [str(Path(sys.executable).with_name("moorage")), "hub", "start"]
    env = os.environ | own.env | {"MOORAGE_HOME": str(own.home)}
    starting = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert starting.stderr
    assert "starting the Prefect server" in starting.stderr.readline()
    wait_for(lambda: bool((found := own.folder.server()) and found.process.pid))
    os.killpg(starting.pid, signal.SIGINT)
    starting.communicate(timeout=240)
    assert starting.returncode == 130
    assert own.processes() == {}
    assert own.status()["server"]["state"] == "stopped"


@pytest.mark.exhaustive
def test_a_server_that_cannot_start_shows_its_log(own: OwnHub) -> None:
    broken = own.start(exit_code=8, PREFECT_SERVER_DATABASE_CONNECTION_URL="nonsense://")
    assert "ended while it was starting" in broken["said"]
    assert "nonsense" in broken["said"]
    assert own.serve().returncode == 0
    assert own.status()["server"]["state"] == "running"


def test_a_pid_that_is_somebody_elses_by_now_is_never_signalled(own: OwnHub) -> None:
    bystander = subprocess.Popen(["sleep", "3600"])
    try:
        stale = ProcessRecord(pid=bystander.pid, identity="another-boot/1", since=datetime.now(UTC))
        url = f"http://127.0.0.1:{own.port}"
        own.folder.save_server(
            ServerRecord(
                process=stale, host="127.0.0.1", port=own.port, api_url=f"{url}/api", ui_url=url, version="0.0.1"
            )
        )
        own.folder.save_worker(WorkerRecord(process=stale, api_url=f"{url}/api", version="0.0.1"))
        assert own.status()["server"]["state"] == own.status()["worker"]["state"] == "crashed"
        own.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen(["true"])
    told = process.identity(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.identity(child.pid) is None
    assert not process.alive(ProcessRecord(pid=child.pid, identity=told or "x", since=datetime.now(UTC)))
    child.wait()


@pytest.mark.exhaustive
def test_a_server_of_the_environment_is_used_and_left_alone(own: OwnHub, hub_address: HubAddress) -> None:
    env = {"PREFECT_API_URL": hub_address.api_url, "PREFECT_API_AUTH_STRING": str(hub_address.auth)}
    status = own.status(**env)
    assert status["managed"] is False
    assert status["api_url"] == hub_address.api_url
    hub("stop", home=own.home, **(own.env | env))
    assert api.answers(hub_address, 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_our_own_hub_in_the_environment_is_still_ours(
    hub_address: HubAddress, with_environment: Callable[..., None], host: str
) -> None:
    with_environment(PREFECT_API_URL=f"{hub_address.api_url.replace('127.0.0.1', host)}/")
    found = address.find()
    assert found == hub_address
    assert found.managed


@pytest.mark.parametrize("variable", ["PREFECT_API_URL", "MOORAGE_API_URL"])
def test_a_server_of_the_environment_that_does_not_answer(own: OwnHub, variable: str, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/api"
    failed = own.start(exit_code=8, **{variable: url})
    assert failed["error"] == "HubError"
    assert url in failed["message"]
    assert f"unset {variable}" in failed["hint"]
    assert own.processes() == {}


def killed_as_soon_as(own: OwnHub, module: str) -> None:
    """`hub start` is killed when it has started a process, which has not entered itself anywhere yet."""
    command = [str(Path(sys.executable).with_name("moorage")), "hub", "start"]
    env = os.environ | own.env | {"MOORAGE_HOME": str(own.home)}
    starting = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    while not any(f"-m {module} " in words for words in own.processes().values()):
        assert starting.poll() is None
        time.sleep(0.01)
    starting.kill()
    starting.wait()


def test_a_start_that_is_killed_leaves_no_server_that_nobody_ends(own: OwnHub) -> None:
    killed_as_soon_as(own, "moorage.hub.serve")
    wait_for(lambda: bool((found := own.folder.server()) and process.alive(found.process)))
    own.folder.forget_server()  # as if not even that had been written
    own.stop(timeout_s=1)
    assert own.processes() == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("module", ["moorage.hub.serve", "moorage.hub.worker_process"])
def test_starts_that_are_killed_are_taken_up_or_ended(own: OwnHub, module: str) -> None:
    """Killed, the next one too, then a start that lives: one of each. And a stop in place of the start."""
    for _ in range(2):
        killed_as_soon_as(own, module)
    own.start()
    wait_for(lambda: parts(own) == ALL)
    own.stop(timeout_s=1)
    assert own.processes() == {}
    killed_as_soon_as(own, module)
    own.stop(timeout_s=1)
    wait_for(lambda: own.processes() == {})
