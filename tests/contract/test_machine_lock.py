"""The lock of a stack's name across homes and users of one machine, against real processes and files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.adapters.locks.machine import MachineLock
from moorage.adapters.locks.stack import StackLock
from moorage.errors import BusyError

STRANGER = 65534
HOLD = """
import sys, time
from pathlib import Path
from moorage.adapters.locks.machine import MachineLock
assert MachineLock(sys.argv[1], "shop", (Path(sys.argv[2]),)).take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def address(tmp_path):
    """An engine's socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        yield f"unix://{tmp_path}/socket"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "machine"
    made.mkdir()
    return made


def homes(tmp_path, address, folder):
    """The lock of one name in two homes."""
    return [StackLock(tmp_path / home, "shop", MachineLock(address, "shop", (folder,))) for home in ("one", "two")]


def test_two_homes_hold_it_one_after_the_other(tmp_path, address, folder):
    one, two = homes(tmp_path, address, folder)
    with one.acquire("up", 0):
        with pytest.raises(BusyError, match=rf"another \$MOORAGE_HOME on this engine \(pid {os.getpid()}\)"):
            two.acquire("up", 0)
        assert two.held() is None, "in its own home nobody has it"
        assert list(two.path.parent.iterdir()) == [], "and no trace"
    with two.acquire("up", 0):
        pass
    assert list(folder.iterdir()) == [], "no trace"


def test_other_engines_and_names_are_others_business(tmp_path, address, folder):
    assert MachineLock(address, "shop", (folder,)).take()
    assert not MachineLock(address, "shop", (folder,)).take()
    assert MachineLock(address, "mail", (folder,)).take()
    assert MachineLock("tcp://127.0.0.1:2375", "shop", (folder,)).take()
    (tmp_path / "alias").symlink_to(tmp_path / "socket")
    assert not MachineLock(f"unix://{tmp_path}/alias", "shop", (folder,)).take(), "the same engine by another name"


def test_a_kill_frees_it(tmp_path, address, folder):
    command = [sys.executable, "-c", HOLD, address, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        one, _ = homes(tmp_path, address, folder)
        with pytest.raises(BusyError, match=str(process.pid)):
            one.acquire("up", 0)
        process.kill()
        process.wait()
    with one.acquire("up", 0):
        pass


def test_open_to_who_may_use_the_engine_and_to_nobody_else(address, folder):
    lock = MachineLock(address, "shop", (folder,))
    assert lock.take()
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o660
    assert file.stat().st_gid == Path(address.removeprefix("unix://")).stat().st_gid
    remote = MachineLock("tcp://127.0.0.1:2375", "shop", (folder,))
    assert remote.take()
    (other,) = set(folder.iterdir()) - {file}
    assert other.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("trap", ["symlink", "folder", "pipe", "stranger's"])
def test_what_a_stranger_puts_there_is_not_taken_for_it(trap, tmp_path, address, folder):
    lock = MachineLock(address, "shop", (folder,))
    assert lock.take()
    (path,) = folder.iterdir()
    lock.release()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    match trap:
        case "symlink":
            path.symlink_to(victim)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
            os.chown(path, STRANGER, STRANGER)
        case _:
            path.write_text("")
            os.chown(path, STRANGER, STRANGER)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert MachineLock(address, "shop", (folder, elsewhere)).take(), "the next place"
    assert not MachineLock(address, "shop", (folder, elsewhere)).take()
    assert victim.read_text() == "untouched"
    assert MachineLock(address, "shop", (folder, tmp_path / "nowhere")).take(), "no place: no such lock"


def test_one_that_is_removed_before_it_is_opened_is_made_again(monkeypatch, tmp_path, address):
    """Its last holder tidies up just then. Another folder would be another lock: two would have the name."""
    folders = (tmp_path / "first", tmp_path / "second")
    for one in folders:
        one.mkdir()
    make, calls = MachineLock._make, []

    def removed_at_once(lock, path):
        make(lock, path)
        calls.append(path)
        if len(calls) == 1:
            path.unlink()

    monkeypatch.setattr(MachineLock, "_make", removed_at_once)
    lock = MachineLock(address, "shop", folders)
    assert lock.take()
    assert [list(one.iterdir()) != [] for one in folders] == [True, False]
    assert not MachineLock(address, "shop", folders).take()
