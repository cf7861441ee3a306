"""The hub's logs: real processes that write through what they inherited, while the file begins anew beneath them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
import time

import pytest

from moorage.errors import HomeError
from moorage.hub import log_files, process
from moorage.hub.hub_home import HubHome
from moorage.model.finding import Leftover

LIMIT = 64 << 10


@pytest.fixture
def folder(tmp_path):
    return HubHome(tmp_path / "hub")


@pytest.fixture
def log(folder):
    folder.path.mkdir()
    return folder.worker_log


WRITER = """
import os, subprocess, sys, time
name, program, stop = sys.argv[1:]
own = subprocess.Popen([sys.executable, "-c", program, "child", "", stop]) if name == "parent" else None
number = 0
while not os.path.exists(stop):
    os.write(1, f"{name} {number} {'x' * 50}\\n".encode())
    number += 1
    time.sleep(0.0005)
os.write(1, f"{name} {number} ends\\n".encode())
if own:
    own.wait()
"""


def test_parents_and_children_write_on_where_it_begins_anew(folder):
    """As a worker and its flow runs do. Nothing is torn or twice; what is lost is lost where it begins anew."""
    log, stop = folder.worker_log, folder.path / "stop"
    command = [sys.executable, "-c", WRITER, "parent", WRITER, str(stop)]
    record = process.spawn(command, environment=os.environ, folder=folder.path.parent, log=log)
    pieces = []
    while len(pieces) < 5:
        assert process.alive(record)
        if log_files.too_large(folder, LIMIT):
            log_files.rotate(log, LIMIT)
            pieces.append(log_files.earlier(log).read_text())
        time.sleep(0.001)
    stop.touch()
    assert process.gone(record, 60)
    pieces.append(log.read_text())
    for name in ("parent", "child"):
        found = [[int(number) for number in re.findall(rf"^{name} (\d+) ", piece, re.MULTILINE)] for piece in pieces]
        for numbers in found:
            assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else not numbers
        every = [number for numbers in found for number in numbers]
        assert every == sorted(set(every))
        assert f"{name} {every[-1]} ends" in pieces[-1], "what is printed after the last time is there"
    torn = [line for piece in pieces for line in piece.splitlines() if not re.fullmatch(r"\w+ \d+ (x{50}|ends)", line)]
    assert torn == [], "nor is there a hole as large as what was there"


def test_private_and_only_one_of_before(log):
    for content in ("first\n", "second\n"):
        log.write_text(content * LIMIT)
        log_files.rotate(log, LIMIT)
    assert log.read_text() == ""
    assert log_files.earlier(log).read_text() == "second\n" * LIMIT
    assert stat.S_IMODE(log_files.earlier(log).stat().st_mode) == 0o600
    assert sorted(one.name for one in log.parent.iterdir()) == ["worker.log", "worker.log.1", "worker.log.lock"]


def test_what_is_small_stays(folder, log):
    log.write_text("a\n")
    log_files.rotate(log, LIMIT)
    assert log.read_text() == "a\n"
    assert log_files.too_large(folder, LIMIT) == ()
    assert log_files.swept(folder, LIMIT, dry_run=False) == []


def test_many_at_once_do_it_once(log):
    """The server, a sweep and another sweep: the second must not put an empty log in the place of what was there."""
    log.write_text("a line\n" * LIMIT)
    threads = [threading.Thread(target=log_files.rotate, args=(log, LIMIT)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log_files.earlier(log).read_text() == "a line\n" * LIMIT


def test_sweep_tells_and_does(folder, log):
    log.write_text("x" * (3 << 20))
    (told,) = log_files.swept(folder, LIMIT, dry_run=True)
    assert (told.kind, told.what, told.swept) == (Leftover.HUB_LOGS, "worker.log, 3 MiB", False)
    assert log.stat().st_size == 3 << 20
    (done,) = log_files.swept(folder, LIMIT, dry_run=False)
    assert (done.swept, done.error, log.stat().st_size) == (True, None, 0)


def test_what_cannot_be_copied_is_not_emptied(folder, log):
    log.write_text("a line\n" * LIMIT)
    log_files.earlier(log).mkdir()  # in the way
    with pytest.raises(HomeError):
        log_files.rotate(log, LIMIT)
    (told,) = log_files.swept(folder, LIMIT, dry_run=False)
    assert not told.swept
    assert "worker.log" in told.error
    assert log.stat().st_size == 7 * LIMIT
    assert sorted(one.name for one in log.parent.iterdir()) == ["worker.log", "worker.log.1", "worker.log.lock"]


def test_a_thread_of_a_process_looks_after_them(folder, log):
    """As in the Prefect server."""
    program = (
        "import sys, time; from pathlib import Path; from moorage.hub import log_files; "
        "from moorage.hub.hub_home import HubHome; "
        f"log_files.keep_small(HubHome(Path(sys.argv[1])), {LIMIT}); sys.stdin.read()"
    )
    log.write_text("a line\n" * LIMIT)
    with subprocess.Popen([sys.executable, "-c", program, str(folder.path)], stdin=subprocess.PIPE) as keeper:
        while log.stat().st_size:
            assert keeper.poll() is None
            time.sleep(0.01)
        keeper.stdin.close()
    assert log_files.earlier(log).read_text() == "a line\n" * LIMIT


class Reads:
    """Counts what is read from a file."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        read = os.pread

        def counted(descriptor, size, offset):
            found = read(descriptor, size, offset)
            self.bytes += len(found)
            return found

        monkeypatch.setattr(log_files.os, "pread", counted)


class TestTail:
    def test_only_the_end_is_read(self, log, monkeypatch):
        with log.open("w") as file:
            file.writelines(f"line {number}\n" for number in range(500_000))
        seen = Reads(monkeypatch)
        assert log_files.tail(log, 3) == ("line 499997", "line 499998", "line 499999")
        assert seen.bytes == 1 << 16
        assert log.stat().st_size > 50 * seen.bytes

    @pytest.mark.parametrize("size", [1, 10, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 200_000])
    @pytest.mark.parametrize("end", ["", "\n"])
    def test_lines_that_lie_across_blocks(self, log, size, end):
        lines = [f"é{number}" * size for number in range(4)]
        log.write_text("\n".join(lines) + end)
        for count in range(1, 6):
            assert log_files.tail(log, count) == tuple(lines[-count:])

    def test_nothing(self, log):
        assert log_files.tail(log, 5) == ()
        log.write_text("")
        assert log_files.tail(log, 5) == ()
        log.write_text("a\n")
        assert (log_files.tail(log, 0), log_files.tail(log, -1)) == ((), ())

    def test_on_from_before_it_began_anew(self, log):
        log_files.earlier(log).write_text("a\nb\nc\n")
        log.write_text("d\n")
        assert log_files.last_lines(log, 3) == ("b", "c", "d")
        assert log_files.last_lines(log, 1) == ("d",)
        assert log_files.last_lines(log, 9) == ("a", "b", "c", "d")
        assert log_files.tail(log, 3) == ("d",), "of one process only: what it said when it ended"


def test_no_more_of_the_end_is_read_than_fits(log, monkeypatch):
    """One line that has no end, and more lines than anybody reads."""
    monkeypatch.setattr(log_files, "_MOST_BYTES", 100_000)
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    (first, last) = log_files.tail(log, 1_000_000)
    assert (len(first), last) == (100_000 - len("\nlast\n"), "last")
    assert log_files.tail(log, 1) == ("last",)


def test_what_was_written_too_fast_is_not_copied_whole(log):
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    log_files.rotate(log, LIMIT)
    kept = log_files.earlier(log)
    assert kept.stat().st_size == 10 * LIMIT
    assert log_files.tail(kept, 1) == ("last",)
