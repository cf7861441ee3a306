"""Who lives for a hub's folder is found and ended, whatever has become of the command that started it, and its record."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moorage.hub import process, residence
from moorage.hub.hub_home import HubHome, WorkerRecord

LIVES = """
import sys, time
from pathlib import Path
from moorage.hub import residence
lock = residence.move_in(Path(sys.argv[1]))
residence.leave_with(Path(sys.argv[1]), look_s=0.05)
print("in" if lock else "refused", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub" / "worker.lock"


@pytest.fixture
def lives(path):
    child = subprocess.Popen([sys.executable, "-c", LIVES, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    assert child.stdout.readline() == "in\n"
    yield child
    child.kill()
    child.communicate()


def test_who_has_moved_in_is_found_without_a_record_and_ended(path, lives):
    found = residence.resident(path)
    assert found
    assert found.pid == lives.pid
    residence.evict(path, grace_s=30)
    lives.wait(60)
    assert residence.resident(path) is None
    residence.evict(path, grace_s=30)


def test_what_the_last_one_signed_is_nobody(path, lives):
    """Its pid may be another's by now."""
    lives.kill()
    lives.wait()
    assert path.read_text()
    assert residence.resident(path) is None
    path.write_text("no record")
    assert residence.resident(path) is None


def test_it_ends_when_its_folder_is_gone(path, lives):
    path.unlink()
    path.write_text("another's")
    assert lives.wait(60) == -15


@pytest.mark.parametrize("told", ["nothing", "another server"])
def test_a_worker_that_nobody_waits_for_ends(tmp_path, told):
    """Its command was killed, and another one has stopped the hub meanwhile, or has started another server."""
    folder = HubHome(tmp_path / "hub")
    folder.path.mkdir()
    if told != "nothing":
        folder.save_worker(
            WorkerRecord(process=process.NOBODY, api_url="http://127.0.0.1:1/api", auth_digest="x", version="1")
        )
    command = [sys.executable, "-m", "moorage.hub.worker_process", "--pool", "p", "--name", "n"]
    command += ["--folder", str(folder.path), "--log-bytes", "1000000"]
    env = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:2/api"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "the command that started this worker has given up")


def test_runs_are_kept_in_a_folder_of_the_home(tmp_path, monkeypatch):
    """Prefect's own is one for all users of the machine: whoever was first owns it. What is old there goes."""
    from prefect.runner import Runner

    from moorage.hub import worker_process

    folder = HubHome(tmp_path / "hub")
    folder.path.mkdir()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:2/api")
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    folder.save_worker(WorkerRecord(process=process.NOBODY, api_url="http://127.0.0.1:2/api", version="1"))
    for age_s, name in ((10, "of-today"), (2 * 86_400, "old")):
        (folder.runner_folder / "runner_storage" / name).mkdir(parents=True)
        then = time.time() - age_s
        os.utime(folder.runner_folder / "runner_storage" / name, (then, then))
    monkeypatch.setattr("tempfile.tempdir", None)
    lock = worker_process._moved_in(folder, 1 << 20, 0)
    try:
        own = Path(Runner()._tmp_dir)
        assert own.is_relative_to(folder.runner_folder)
        assert [one.name for one in (folder.runner_folder / "runner_storage").iterdir()] == ["of-today"]
        record = folder.worker()
        assert record
        assert record.process.pid == os.getpid()
    finally:
        lock.release()
