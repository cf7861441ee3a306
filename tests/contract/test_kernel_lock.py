"""The lock under all others: of the kernel, on a file that may vanish; against real processes, threads and files."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moorage.adapters.locks.kernel import KernelLock, open_existing

HOLD = """
import sys, time
from pathlib import Path
from moorage.adapters.locks.kernel import KernelLock
assert KernelLock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


def open_descriptors():
    return len(list(Path("/dev/fd").iterdir()))


def test_one_has_it(path):
    one, two = KernelLock(path), KernelLock(path)
    assert one.take()
    assert not two.take()
    assert not one.take(), "not twice by the same object either"
    one.release()
    assert two.take()
    two.release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_who_does_not_have_it_cannot_give_it_back(path):
    one, two = KernelLock(path), KernelLock(path)
    assert one.take()
    two.release(remove=True)
    assert path.exists()
    assert one.held()


def test_a_look_makes_nothing(path):
    assert not KernelLock(path).held()
    assert not path.exists()


def test_a_kill_frees_it_and_until_then_the_kernel_names_the_process(path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        lock = KernelLock(path)
        assert not lock.take()
        assert lock.held()
        assert lock.holder() == process.pid
        process.kill()
        process.wait()
        assert (lock.held(), lock.holder()) == (False, None)
        assert lock.take()


def _wait_for(event):
    event.wait(60)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("remove", [False, True])
def test_a_forked_child_does_not_keep_it(path, remove):
    context = multiprocessing.get_context("fork")
    done = context.Event()
    lock, before = KernelLock(path), KernelLock(path)
    assert lock.take()
    descriptor = open_existing(path)  # the very file, whatever is at the path later
    child = context.Process(target=_wait_for, args=(done,))
    child.start()
    try:
        lock.release(remove=remove)
        assert not KernelLock(Path(f"/dev/fd/{descriptor}"), lambda path: os.open(path, os.O_RDONLY)).held()
        assert before.take()
    finally:
        done.set()
        child.join()
        os.close(descriptor)
        before.release()


def test_a_file_that_its_holder_removed_is_not_taken_for_the_lock(path):
    """The one who comes opens the file, then it is removed, then its lock is free: that is worth nothing."""
    holder = KernelLock(path)
    assert holder.take()
    opened = []

    def opener(path):
        opened.append(os.open(path, os.O_RDWR | os.O_CREAT))
        if len(opened) == 1:
            holder.release(remove=True)
        return opened[-1]

    comer = KernelLock(path, opener)
    assert comer.take()
    assert len(opened) == 2
    assert not KernelLock(path).take(), "it has the file that is there"
    comer.release()


def test_it_waits_for_its_turn(path):
    first, second = KernelLock(path), KernelLock(path)
    assert first.take()
    waiting = threading.Event()

    def opener(path):
        waiting.set()
        return open_existing(path)

    second = KernelLock(path, opener)
    got = []
    waiter = threading.Thread(target=lambda: got.append(second.take(60)))
    waiter.start()
    assert waiting.wait(60)
    first.release()
    waiter.join(60)
    assert got == [True]


def test_no_descriptor_stays_open(path):
    lock, other = KernelLock(path), KernelLock(path)
    before = open_descriptors()
    for remove in (False, True):
        assert lock.take()
        assert not other.take()
        assert other.held()
        assert not other.take(0.03)
        lock.release(remove=remove)
        assert not other.held()
    with pytest.raises(FileNotFoundError):
        KernelLock(path, open_existing).take()
    assert open_descriptors() == before


@pytest.mark.parametrize("remove", [False, True])
def test_many_at_once_are_inside_one_at_a_time(path, remove):
    inside, most, times = [0], [0], [0]

    def work():
        for _ in range(50):
            lock = KernelLock(path)
            assert lock.take(60)
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            times[0] += 1
            inside[0] -= 1
            lock.release(remove=remove)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (most, times) == ([1], [200])
