"""The command of `moorage ci`, in a process of its own: exit codes, signals, what it leaves running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DRIVER = """
import os, sys
from moorage.errors import DefinitionError
from moorage.work.ephemeral import command as child
child._GRACE_S = 0.5
limit = float(sys.argv[1]) or None
try:
    code = child.run_command(sys.argv[2:], os.environ, limit, lambda text: print(text, file=sys.stderr, flush=True))
except DefinitionError as error:
    code = error.fields["exit_code_of_command"]
sys.exit(code)
"""


def start(*command: str, limit: float = 0, **options: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    options = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "start_new_session": True} | options
    return subprocess.Popen([sys.executable, "-c", DRIVER, str(limit), *command], text=True, **options)


def ended(process: subprocess.Popen[str], words: str | None = None) -> tuple[str, str]:
    """What it wrote from now on, when it has ended."""
    with process:
        return process.communicate(words, timeout=240)


def test_exit_codes_are_those_of_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no program")
    commands = {
        ("sh", "-c", "exit 3"): 3,
        ("sh", "-c", "kill -9 $$"): 137,
        ("sh", "-c", "kill -TERM $$"): 143,
        ("no-such-program",): 127,
        (str(file),): 126,
        (str(tmp_path),): 126,
    }
    begun = {command: start(*command) for command in commands}
    for process in begun.values():
        ended(process)
    assert {command: process.returncode for command, process in begun.items()} == commands


def test_stdin_and_a_lot_of_output_go_straight_through() -> None:
    process = start("sh", "-c", "cat; head -c 50000000 /dev/zero | tr '\\0' x", stdin=subprocess.PIPE)
    out, _ = ended(process, "from stdin\n")
    assert process.returncode == 0
    assert out.startswith("from stdin\n")
    assert len(out) == 50_000_000 + len("from stdin\n")


def _gone(pid: int) -> bool:
    """Ended, or a zombie whose parent does not look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 240
    while not _gone(pid):
        assert time.monotonic() < deadline, f"{pid} lives"
        time.sleep(0.02)


@pytest.mark.parametrize("left", ["sleep 100 &", "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' &"])
def test_what_it_leaves_running_is_ended(left: str) -> None:
    process = start("sh", "-c", f"{left} echo $!")
    out, said = ended(process)
    assert process.returncode == 0
    assert "left running" in said
    until_gone(int(out))


def test_a_timeout_ends_also_what_does_not_want_to() -> None:
    process = start("sh", "-c", "trap '' TERM; sh -c 'while :; do sleep 0.1; done' & echo $!; wait; wait", limit=1.0)
    out, said = ended(process)
    assert process.returncode == 124
    assert "has been running for 1 s" in said
    until_gone(int(out.split()[0]))


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)],
    ids=str,
)
def test_what_ignores_signals_is_killed(numbers: tuple[signal.Signals, ...]) -> None:
    process = start("sh", "-c", "trap '' TERM INT HUP; echo begun; while :; do sleep 0.1; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)  # two of the same at once are one
    said = ended(process)[1]
    assert process.returncode == 128 + signal.SIGKILL
    assert "killing it" in said


def test_one_ctrl_c_gives_it_all_the_time_it_takes() -> None:
    script = "trap 'echo cleaning; sleep 1.5; echo cleaned; exit 9' INT; echo begun; while :; do sleep 0.1; done"
    process = start("sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, _ = ended(process)
    assert (process.returncode, out) == (9, "cleaning\ncleaned\n")


def test_what_nohup_ignores_stays_ignored() -> None:
    process = start("sh", "-c", "echo begun; read line; exit 5", stdin=subprocess.PIPE, preexec_fn=_ignore_hangup)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGHUP)
    ended(process, "go\n")
    assert process.returncode == 5


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
