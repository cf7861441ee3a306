"""The hub in figures: start, again, at rest; from `create_flow_run` to the first line of a flow; the call of `up --detach`.

`make bench` prints them.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.hub import api, deployed, runs
from moorage.hub.address import address_of
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

RUNS = 10
CALLS = 20
BURST = 40
FIRST_LINE_S = 2.6
CALL_S = 0.100
BURST_S = 10.0
COLD_S = 25.0
AGAIN_S = 2.0
REST_S = 60.0
LOADED_S = 70.0
"""Until the server has set aside what it has loaded."""


def hub(verb: str, home: Path, *more: str) -> tuple[float, Any]:
    """`moorage hub VERB --json`: seconds it took, and what it said."""
    command = [str(Path(sys.executable).with_name("moorage")), "hub", verb, "--json", *more]
    began = time.perf_counter()
    # Without schedules: at rest is at rest.
    environment = os.environ | {"MOORAGE_HOME": str(home), "MOORAGE_SCHEDULES": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or verb == "stop", done.stderr
    return time.perf_counter() - began, json.loads(done.stdout)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubAddress, dict[str, Any], float, float]]:
    """A hub from nothing: its address, its status, seconds of the first and of a second start."""
    home = tmp_path_factory.mktemp("hub-bench")
    cold_s, _ = hub("start", home)
    again_s, status = hub("start", home)
    record = HubHome(home / "hub").server()
    assert record
    address = address_of(record)
    yield address, status, cold_s, again_s
    hub("stop", home)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_start_and_rest(started: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, status, cold_s, again_s = started
    pids = {name: status[name]["pid"] for name in ("server", "worker", "template") if status[name]["pid"]}
    time.sleep(LOADED_S)
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    time.sleep(REST_S)
    with capsys.disabled():
        print(f"\nhub start  cold {cold_s:5.1f} s (at most {COLD_S:g})   again {again_s:4.2f} s (at most {AGAIN_S:g})")
        for name, pid in pids.items():
            used = 100 * (cpu_s(pid) - before[name]) / REST_S
            print(f"at rest    {name:8} {status[name]['memory_bytes'] >> 20:4} MiB   {used:4.1f} % of a core")
    assert cold_s <= COLD_S
    assert again_s <= AGAIN_S


def test_from_create_flow_run_to_the_first_line(started: Any, capsys: pytest.CaptureFixture[str]) -> None:
    address = started[0]
    deployment = deployed.found_on(address)["status"]
    took = []
    for _ in range(RUNS + 1):
        began = time.time()
        run = api.call(address, "POST", f"/deployments/{deployment}/create_flow_run", {})["id"]
        while not (found := api.call(address, "GET", f"/flow_runs/{run}"))["end_time"]:
            time.sleep(0.2)
        assert found["state_type"] == "COMPLETED"
        took.append(datetime.fromisoformat(found["start_time"]).timestamp() - began)
    warm = took[1:]
    median = statistics.median(warm)
    with capsys.disabled():
        print(f"\nfirst line median {median:.2f} s   min {min(warm):.2f}   max {max(warm):.2f}   n {RUNS}")
        print(f"           (at most {FIRST_LINE_S:g} s; defaults of Prefect: 9.8 s)")
    assert median <= FIRST_LINE_S


def test_the_call_of_a_detached_up(started: Any, capsys: pytest.CaptureFixture[str]) -> None:
    address = started[0]
    took = []
    for _ in range(CALLS + 1):
        seconds, run = submitted(address)
        took.append(seconds)
        runs.until_ended(address, run, timeout_s=60)
    with capsys.disabled():
        print(f"\nthe call   {in_words(took[1:])}   (p95 at most {1000 * CALL_S:.0f} ms), one run at a time")
    assert p95(took[1:]) < CALL_S


def test_calls_in_a_row_while_the_worker_starts_their_runs(started: Any, capsys: pytest.CaptureFixture[str]) -> None:
    address = started[0]
    took, made = zip(*(submitted(address) for _ in range(BURST)), strict=True)
    ended = [runs.until_ended(address, run, timeout_s=300).state for run in made]
    with capsys.disabled():
        print(f"\nin a row   {in_words(took)}   (each at most {BURST_S:g} s)")
    assert ended == ["Completed"] * BURST
    assert max(took) < BURST_S


def submitted(address: HubAddress) -> tuple[float, runs.FlowRun]:
    began = time.perf_counter()
    run = runs.submit(address, "status", {"stack": "none"}, "none")
    return time.perf_counter() - began, run


def p95(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def in_words(seconds: Sequence[float]) -> str:
    figures = {"median": statistics.median(seconds), "p95": p95(seconds), "max": max(seconds)}
    return "   ".join(f"{name} {1000 * value:.0f} ms" for name, value in figures.items()) + f"   n {len(seconds)}"
