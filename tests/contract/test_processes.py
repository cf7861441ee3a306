"""Processes that outlive who started them: told from those that got their pid, and ended when they are surely ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import psutil
import pytest

from moorage.adapters.compose.orphan_processes import end_bearers, end_strays, is_in_a_command
from moorage.hub import process
from moorage.hub.process import ProcessRecord

DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('there', flush=True); sys.stdin.read()"
LISTENS = "import sys; print('there', flush=True); sys.stdin.read()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
"""
ASKS = """
import os, subprocess, sys
from moorage.adapters.compose.orphan_processes import end_bearers
if len(sys.argv) == 3:
    sys.exit(subprocess.run([sys.executable, *sys.orig_argv[1:], "child"]).returncode)
sys.exit(100 + end_bearers(sys.argv[1], sys.argv[2]))
"""


@pytest.fixture
def start():
    """Start a Python program and wait until it says that it is there; ended after the test."""
    started = []

    def run(code, *arguments, **variables):
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | variables,
        )
        started.append(child)
        child.said = child.stdout.readline().strip()
        assert child.said
        return child

    yield run
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def mark(request):
    """What no other process has in its command line or environment."""
    return f"{request.node.name}-{os.getpid()}"


def record_of(pid):
    return ProcessRecord(pid=pid, identity=process.identity(pid) or "", since=datetime.now(UTC))


@pytest.fixture(params=["of the kernel", "of psutil"])
def source(request, monkeypatch):
    """Linux, and what is asked where there is no /proc."""
    monkeypatch.setattr(process, "_HAS_PROC", request.param == "of the kernel")


def test_an_identity_lasts_as_long_as_its_process(source, start):
    one, two = start(LISTENS), start(LISTENS)
    told = process.identity(one.pid)
    assert told
    assert process.identity(one.pid) == told
    assert process.identity(two.pid) != told
    assert process.alive(record_of(one.pid))
    assert not process.alive(ProcessRecord(pid=two.pid, identity=told, since=datetime.now(UTC))), (
        "its pid, another process"
    )
    one.kill()
    os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
    assert process.identity(one.pid) is None, "a zombie has ended"
    one.wait()
    assert process.identity(one.pid) is None


def test_an_identity_does_not_move_with_the_clock(start, monkeypatch):
    """NTP and a resumed virtual machine set the clock: a server that was started before is still ours."""
    child = start(LISTENS)
    record, of_psutil = record_of(child.pid), psutil.Process(child.pid).create_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda real=psutil._pslinux.boot_time: real() + 1)
    assert process.alive(record)
    assert psutil.Process(child.pid).create_time() != of_psutil, "else psutil would do"


def test_children_that_run_and_no_others(start):
    parent = start(PARENT, LISTENS)
    grown = int(parent.said)
    assert [child.pid for child in process.children(record_of(parent.pid))] == [grown]
    assert grown not in {child.pid for child in process.children(record_of(os.getpid()))}, "a child of a child"
    os.kill(grown, signal.SIGKILL)
    assert process.gone(record_of(grown), 60)
    assert process.children(record_of(parent.pid)) == (), "a zombie does not run"
    assert process.children(ProcessRecord(pid=parent.pid, identity="x", since=datetime.now(UTC))) == ()


def test_memory(start):
    child = start(LISTENS)
    assert (process.memory_bytes(child.pid) or 0) > 1 << 20
    child.kill()
    child.wait()
    assert process.memory_bytes(child.pid) is None


def test_strays_are_those_with_all_parts_in_their_command_line(start, mark):
    both, one, deaf = start(LISTENS, mark, "-p", "shop"), start(LISTENS, mark), start(DEAF, "-p", "shop", mark)
    longer = start(LISTENS, mark, "-p", "shopping")
    assert end_strays(mark, "-p shop ") == 2
    assert {both.poll(), deaf.poll()} == {-signal.SIGKILL}
    assert {one.poll(), longer.poll()} == {None}
    assert end_strays(mark, "-p shop ") == 0


def test_bearers_are_ended_the_deaf_too(start, mark):
    polite, deaf, other = start(LISTENS, MARK=mark), start(DEAF, MARK=mark), start(LISTENS, MARK=f"{mark}x")
    assert end_bearers("MARK", mark) == 2
    assert (polite.wait(60), deaf.wait(60)) == (-signal.SIGTERM, -signal.SIGKILL)
    assert other.poll() is None
    assert end_bearers("MARK", mark) == 0


def test_who_asks_is_spared_with_its_parents(start, mark):
    bearer = start(LISTENS, MARK=mark)
    asked = subprocess.run([sys.executable, "-c", ASKS, "MARK", mark], env=os.environ | {"MARK": mark}, timeout=60)
    assert asked.returncode == 101
    assert bearer.wait(60) == -signal.SIGTERM


def test_whether_a_command_has_an_argument(start, mark):
    assert not is_in_a_command(f"moorage.run={mark}")
    child = start(LISTENS, "--label", f"moorage.run={mark}")
    assert is_in_a_command(f"moorage.run={mark}")
    assert not is_in_a_command(f"moorage.run={mark[:-1]}"), "a part of it is another"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_in_a_command(f"moorage.run={mark}"), "a zombie attends to nothing"
