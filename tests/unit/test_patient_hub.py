"""`hub start` on a busy machine: what has not come yet is waited for, and that is told; who hangs is found out."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from moorage.adapters import patience
from moorage.adapters.locks.kernel import KernelLock
from moorage.errors import HubError
from moorage.hub import control, deployments, process, server, worker
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome, ServerRecord, WorkerRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Answers = Callable[[], Iterator[bool]]

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
NOWHERE = HubAddress(api_url="http://127.0.0.1:9/api", ui_url="http://127.0.0.1:9", managed=True)


@pytest.fixture
def folder(tmp_path) -> HubHome:
    return HubHome(tmp_path)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def a_process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPS) as started:
        try:
            yield started
        finally:
            started.kill()


def record_of(pid: int) -> process.ProcessRecord:
    return process.ProcessRecord(pid=pid, identity=process.identity(pid) or "", since=datetime.now(UTC))


def after(tries: int) -> Callable[..., bool]:
    """False so many times, then True."""
    left = [tries]

    def answer(*_: object) -> bool:
        left[0] -= 1
        return left[0] < 0

    return answer


@pytest.fixture
def load(monkeypatch) -> Callable[[float], None]:
    monkeypatch.setattr(patience.os, "cpu_count", lambda: 1)

    def is_now(value: float) -> None:
        monkeypatch.setattr(patience.os, "getloadavg", lambda: (value, 0.0, 0.0))

    is_now(1.0)
    return is_now


def of_server(folder: HubHome, pid: int) -> ServerRecord:
    return ServerRecord(
        process=record_of(pid), host="127.0.0.1", port=9, api_url=NOWHERE.api_url, ui_url=NOWHERE.ui_url, version="1"
    )


def test_a_server_that_takes_longer_is_waited_for(folder, lines, load, a_process, monkeypatch) -> None:
    load(10.0)
    monkeypatch.setattr(server, "START_TIMEOUT_S", 1.0)
    monkeypatch.setattr(server, "_entered", lambda *_: True)
    monkeypatch.setattr(server.api, "answers", after(12))
    record = of_server(folder, a_process.pid)
    assert server._until_it_answers(folder, record, lines.append).api_url == record.api_url
    assert any("waiting: the Prefect server has not answered for" in line for line in lines)


def test_a_server_that_hangs_is_given_up(folder, lines, load, a_process, monkeypatch) -> None:
    monkeypatch.setattr(server, "START_TIMEOUT_S", 0.2)
    with pytest.raises(HubError, match=r"does not answer on .* after 0 s"):
        server._until_it_answers(folder, of_server(folder, a_process.pid), lines.append)
    assert not lines, "the machine is not busy"


def of_worker(pid: int) -> WorkerRecord:
    return WorkerRecord(process=record_of(pid), api_url=NOWHERE.api_url, auth_digest=None, version="1")


def test_a_worker_that_takes_longer_is_waited_for(folder, lines, load, a_process, monkeypatch) -> None:
    load(10.0)
    monkeypatch.setattr(worker, "_ONLINE_TIMEOUT_S", 1.0)
    monkeypatch.setattr(worker, "_entered", lambda *_: True)
    monkeypatch.setattr(worker, "_on_duty", after(12))
    worker._until_on_duty(folder, NOWHERE, of_worker(a_process.pid), lines.append)
    assert any("waiting: the worker has not come online for" in line for line in lines)


def test_a_worker_that_hangs_is_given_up(folder, lines, load, a_process, monkeypatch) -> None:
    monkeypatch.setattr(worker, "_ONLINE_TIMEOUT_S", 0.2)
    with pytest.raises(HubError, match="did not come online within 0 s") as found:
        worker._until_on_duty(folder, NOWHERE, of_worker(a_process.pid), lines.append)
    assert found.value.hint


def test_a_worker_that_ended_is_not_waited_for(folder, lines, load) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with pytest.raises(HubError, match="ended before it came online"):
        worker._until_on_duty(folder, NOWHERE, of_worker(ended.pid), lines.append)


def test_a_deployment_that_takes_longer_is_waited_for(folder, lines, load, monkeypatch) -> None:
    load(10.0)
    monkeypatch.setattr(deployments, "_TIMEOUT_S", 1.0)
    monkeypatch.setattr(deployments, "_LOOK_S", 0.02)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as deploying:
        assert deploying.stdin

        def say(line: str) -> None:
            lines.append(line)
            deploying.stdin.close()  # it may end now

        deployments._finish(deploying, folder, say)
    assert lines[0].startswith("waiting: the flows have not been deployed for")


def test_a_deployment_that_hangs_is_given_up_and_it_says_what_next(folder, lines, load, a_process, monkeypatch) -> None:
    monkeypatch.setattr(deployments, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(deployments, "_LOOK_S", 0.02)
    folder.deploy_log.parent.mkdir(parents=True, exist_ok=True)
    folder.deploy_log.write_text("block service\n")
    with pytest.raises(HubError, match=r"(?s)the flows were not deployed within .*block service") as found:
        deployments._finish(a_process, folder, lines.append)
    assert "hub start" in (found.value.hint or "")


def test_another_start_that_takes_longer_is_waited_for(folder, lines, load, monkeypatch) -> None:
    load(10.0)
    for name, value in {"_LOCK_TIMEOUT_S": 1.0, "_SILENT_WAIT_S": 0.01, "_LOOK_S": 0.02}.items():
        monkeypatch.setattr(control, name, value)
    other = KernelLock(folder.lock)
    folder.path.mkdir(parents=True, exist_ok=True)
    assert other.take()

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("waiting: the other command has not ended"):
            other.release()

    with control._locked(folder, say):
        assert lines[0] == "another command starts or stops the hub; waiting for it"


def test_what_is_slow_to_end_on_a_busy_machine_is_not_killed(load, tmp_path: Path) -> None:
    """It wants longer than the grace; on a machine that is not busy it would have got SIGKILL."""
    load(10.0)
    ready, done = tmp_path / "ready", tmp_path / "done"
    code = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_):\n time.sleep(1.5); pathlib.Path({str(done)!r}).touch(); sys.exit()\n"
        f"signal.signal(signal.SIGTERM, end); pathlib.Path({str(ready)!r}).touch()\n"
        "while True: time.sleep(1)"
    )
    started = process.spawn(
        [sys.executable, "-c", code], environment=dict(os.environ), folder=tmp_path, log=tmp_path / "log"
    )
    while not ready.exists():
        assert process.alive(started)
    assert process.end(started, 1.0)
    assert done.exists()
