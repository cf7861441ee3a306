"""The lock of a stack, against real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from moorage.adapters.locks.stack import StackLock
from moorage.errors import BusyError, HomeError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "locks"


@pytest.fixture
def other_process(folder):
    """Starts a process that holds the lock and says so; ended after the test."""
    started = []

    def start(code="time.sleep(60)"):
        program = f"""
            import subprocess, sys, time
            from pathlib import Path
            from moorage.adapters.locks.stack import StackLock
            lock = StackLock(Path({str(folder)!r}), "shop").acquire("up", 5)
            print("held", flush=True)
            {code}
        """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_free_at_first(folder):
    assert StackLock(folder, "shop").held() is None
    assert not folder.exists()


def test_held_by_us_until_released(folder):
    lock = StackLock(folder, "shop")
    with lock.acquire("up", 0):
        held = StackLock(folder, "shop").held()
        assert (held["operation"], held["pid"]) == ("up", os.getpid())
        assert held["since"].endswith("+00:00")
    assert lock.held() is None
    assert list(folder.iterdir()) == [], "a name that never comes again leaves nothing"


def test_each_stack_has_its_own(folder):
    with StackLock(folder, "shop").acquire("up", 0), StackLock(folder, "blog").acquire("up", 0):
        pass


def test_releasing_what_is_not_held(folder):
    StackLock(folder, "shop").release()


def test_again_after_a_release(folder):
    lock = StackLock(folder, "shop")
    for operation in ("up", "down"):
        lock.acquire(operation, 0)
        assert lock.held()["operation"] == operation
        lock.release()


def test_private(folder):
    with StackLock(folder, "shop").acquire("up", 0):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_busy_names_the_holder(folder, other_process):
    process = other_process()
    with pytest.raises(BusyError, match=rf"stack shop is held by `up` \(pid {process.pid}\) since 20") as caught:
        StackLock(folder, "shop").acquire("down", 0)
    fields = caught.value.fields
    assert (fields["stack"], fields["operation"], fields["pid"]) == ("shop", "up", process.pid)
    assert caught.value.exit_code == 7


def test_without_waiting_is_silent_and_hardly_sleeps(folder, other_process, monkeypatch):
    other_process()
    said, slept_s, sleep = [], [], time.sleep
    monkeypatch.setattr(time, "sleep", lambda pause_s: slept_s.append(pause_s) or sleep(pause_s))
    with pytest.raises(BusyError):
        StackLock(folder, "shop").acquire("down", 0, said.append)
    assert sum(slept_s) < 1, "only for as long as a holder takes to sign"
    assert said == []


def test_waits_for_its_turn_and_says_for_whom(folder, other_process):
    process = other_process("time.sleep(0.7)")
    said = []
    with StackLock(folder, "shop").acquire("down", 10, said.append):
        assert [sentence for sentence in said if f"pid {process.pid}" in sentence]
    assert len(said) <= 2


def test_gives_up_after_its_time(folder, other_process):
    other_process()
    began = time.monotonic()
    with pytest.raises(BusyError):
        StackLock(folder, "shop").acquire("down", 0.4)
    assert time.monotonic() - began >= 0.4


def test_the_kernel_frees_it_of_a_killed_process(folder, other_process):
    process = other_process()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert StackLock(folder, "shop").held() is None
    with StackLock(folder, "shop").acquire("down", 0) as lock:
        assert lock.held()["operation"] == "down"


def test_a_child_that_outlives_its_parent_does_not_have_it(folder, other_process):
    child = "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False).pid, flush=True)"
    process = other_process(child)
    pid = int(process.stdout.readline())
    try:
        process.wait(10)
        assert StackLock(folder, "shop").held() is None
        StackLock(folder, "shop").acquire("down", 0).release()
        os.kill(pid, 0)  # it is still there
    finally:
        os.kill(pid, signal.SIGKILL)


def _wait_for(event):
    event.wait(60)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_does_not_have_it(folder):
    context = multiprocessing.get_context("fork")
    done = context.Event()
    lock = StackLock(folder, "shop").acquire("up", 0)
    child = context.Process(target=_wait_for, args=(done,))
    child.start()
    try:
        lock.release()
        StackLock(folder, "shop").acquire("down", 0).release()
    finally:
        done.set()
        child.join()


def test_released_by_another_thread(folder):
    lock = StackLock(folder, "shop")
    taker = threading.Thread(target=lock.acquire, args=("up", 0))
    taker.start()
    taker.join()
    assert lock.held()["operation"] == "up"
    lock.release()
    StackLock(folder, "shop").acquire("down", 0).release()


def test_looking_does_not_keep_anybody_out(folder):
    stop = threading.Event()

    def look():
        while not stop.is_set():
            StackLock(folder, "shop").held()
            time.sleep(0.001)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(30):
            StackLock(folder, "shop").acquire("up", 0).release()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_spoilt_holder_file(folder):
    with StackLock(folder, "shop").acquire("up", 0) as lock:
        for text in ("", "not json", "[]", "null"):
            (folder / "shop.holder").write_text(text)
            assert lock.held() == {"operation": None, "pid": None, "since": None}
        with pytest.raises(BusyError, match="another run"):
            StackLock(folder, "shop").acquire("down", 0)


def test_one_at_a_time(folder):
    inside, most = [0], [0]

    def work():
        for _ in range(5):
            with StackLock(folder, "shop").acquire("up", 30):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1]


@pytest.mark.parametrize("name", ["../poetry", "a/b", "..", "", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    """Anybody may write a name onto a volume: the file of a lock goes when it is given back."""
    folder = tmp_path / "locks"
    others = tmp_path / "poetry.lock"
    others.write_text("somebody's")
    with pytest.raises(HomeError, match="name"):
        StackLock(folder, name).acquire("volumes prune", 0)
    assert others.read_text() == "somebody's"
    assert list(tmp_path.iterdir()) == [others]
