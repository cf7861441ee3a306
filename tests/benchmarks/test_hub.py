"""The hub in figures: start, again, at rest; from `create_flow_run` to the first line of a flow; the call of `up --detach`.

The bounds are for a quiet machine of today; what is not reached is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from moorage.hub import api, deployed, runs
from moorage.hub.address import address_of
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome

Figures = Callable[..., None]
pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

RUNS = 10
CALLS = 20
BURST = 40
FIRST_LINE_S, OWN_FIRST_LINE_S = 0.6, 0.3
CALL_S = 0.100
BURST_S = 10.0
COLD_S = 25.0
AGAIN_S = 2.0
REST_S = 60.0
REST_PERCENT, REST_MIB = 1.5, 300
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


def test_start_and_rest(started: Any, figure: Figures) -> None:
    _, status, cold_s, again_s = started
    pids = {name: status[name]["pid"] for name in ("server", "worker", "template") if status[name]["pid"]}
    time.sleep(LOADED_S)
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    time.sleep(REST_S)
    used = {name: 100 * (cpu_s(pid) - before[name]) / REST_S for name, pid in pids.items()}
    shares = {name: psutil.Process(pid).memory_full_info().pss / 2**20 for name, pid in pids.items()}
    figure("hub start, from nothing", cold_s, COLD_S, "s", "one, with the hub's database", order=40)
    figure("hub start, when it runs", again_s, AGAIN_S, "s", "one", order=41)
    how = ", ".join(f"{name} {percent:.1f}" for name, percent in used.items()) + f"; over {REST_S:.0f} s"
    figure("hub at rest", sum(used.values()), REST_PERCENT, "% of a core", how, order=42)
    how = ", ".join(f"{name} {mib:.0f}" for name, mib in shares.items()) + "; counted by shares"
    figure("hub at rest, memory", sum(shares.values()), REST_MIB, "MiB", how, order=43)


def by_rest(address: HubAddress) -> str:
    """A flow run as the UI's button makes it."""
    deployment = deployed.found_on(address)["status"]
    run = api.call(address, "POST", f"/deployments/{deployment}/create_flow_run", {})["id"]
    return str(run)


def by_our_command(address: HubAddress) -> str:
    return runs.submit(address, "status", {}, "all").id


@pytest.mark.parametrize(
    ("create", "what", "bound_s"),
    [
        (by_rest, "from create_flow_run to the flow's first line", FIRST_LINE_S),
        (by_our_command, "from a detached command's call to the flow's first line", OWN_FIRST_LINE_S),
    ],
)
def test_to_the_first_line(
    started: Any, figure: Figures, create: Callable[[HubAddress], str], what: str, bound_s: float
) -> None:
    address = started[0]
    took = []
    for _ in range(RUNS + 1):
        began = time.time()
        run = create(address)
        while not (found := api.call(address, "GET", f"/flow_runs/{run}"))["end_time"]:
            time.sleep(0.2)
        assert found["state_type"] == "COMPLETED"
        took.append(datetime.fromisoformat(found["start_time"]).timestamp() - began)
    warm = took[1:]
    how = f"median of {RUNS}, from {min(warm):.2f} to {max(warm):.2f}"
    figure(what, statistics.median(warm), bound_s, "s", how, order=44)


def test_the_call_of_a_detached_up(started: Any, figure: Figures) -> None:
    address = started[0]
    took = []
    for _ in range(CALLS + 1):
        seconds, run = submitted(address)
        took.append(seconds)
        runs.until_ended(address, run, timeout_s=60)
    how = f"{in_words(took[1:])}, one run at a time"
    figure("the call of a detached up, p95", 1000 * p95(took[1:]), 1000 * CALL_S, "ms", how, order=45)


def test_calls_in_a_row_while_the_worker_starts_their_runs(started: Any, figure: Figures) -> None:
    address = started[0]
    took, made = zip(*(submitted(address) for _ in range(BURST)), strict=True)
    ended = [runs.until_ended(address, run, timeout_s=300).state for run in made]
    figure(f"{BURST} such calls in a row, the slowest", max(took), BURST_S, "s", in_words(took), order=46)
    assert ended == ["Completed"] * BURST


def submitted(address: HubAddress) -> tuple[float, runs.FlowRun]:
    began = time.perf_counter()
    run = runs.submit(address, "status", {"stack": "none"}, "none")
    return time.perf_counter() - began, run


def p95(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def in_words(seconds: Sequence[float]) -> str:
    figures = {"median": statistics.median(seconds), "p95": p95(seconds), "max": max(seconds)}
    return ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in figures.items()) + f" of {len(seconds)}"
