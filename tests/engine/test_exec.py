"""`moorage exec`: bytes, exit codes, a terminal."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

MOORAGE = str(Path(sys.executable).with_name("moorage"))
MEGABYTES = 50


@pytest.fixture
async def web(stack):
    s = stack("""
        services:
          web: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s}
          idle: {image: "${TINY_IMAGE}", command: ["true"], x-moorage: {ready: {exit: 0}}}
    """)
    await s.up()
    # Another definition in the working directory must not matter, not even one that cannot be read.
    s.write("compose.yaml", "services: {web: [broken")
    return s


def run(s, *args, **options):
    options = {"stdin": subprocess.DEVNULL, **options}
    command = [MOORAGE, "exec", "--name", s.name, *args]
    return subprocess.run(command, cwd=s.path, capture_output=True, check=False, timeout=100, **options)


async def test_bytes_arguments_and_exit_codes_pass_through(web, tmp_path):
    blob = random.Random(7).randbytes(MEGABYTES << 20)  # not compressible, all bytes there are
    (tmp_path / "blob").write_bytes(blob)
    with (tmp_path / "blob").open("rb") as file:
        back = run(web, "web", "--", "cat", stdin=file)
    assert (back.returncode, back.stderr) == (0, b"")
    assert hashlib.sha256(back.stdout).digest() == hashlib.sha256(blob).digest()

    script = 'printf "%s|" "$@" "$A" "$(id -u)" "$PWD"; echo err >&2; exit 42'
    told = run(
        web, "-u", "1000", "-w", "/tmp", "-e", "A=1 $B", "web", "sh", "-c", script, "-", "a b", "$HOME;*", "--json"
    )
    assert (told.returncode, told.stderr) == (42, b"err\n")
    assert told.stdout == b"a b|$HOME;*|--json|1 $B|1000|/tmp|"
    assert run(web, "web", "--", "sh", "-c", "kill -9 $$").returncode == 137
    assert run(web, "web", "--", "no-such-program").returncode in (126, 127)


WRONG = [
    (["wbe", "ls"], 2, 'Did you mean "web"?'),
    (["--index", "2", "web", "ls"], 2, "Replicas: 1."),
    (["web"], 2, "no command given"),
    (["idle", "ls"], 1, "idle is not running, it is exited"),
]


async def test_what_cannot_be_done_is_said_before(web):
    for args, code, said in WRONG:
        done = run(web, *args)
        assert (done.returncode, said in done.stderr.decode()) == (code, True), done


async def test_on_a_terminal_it_gets_one(web):
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(web.path)
        os.execv(MOORAGE, [MOORAGE, "exec", "--name", web.name, "web", "sh", "-c", SHOW_SIZES])
    resize(terminal, 33, 101, child)
    said = read_until(terminal, b"ready", told=child)
    assert b"tty\r\n33 101" in said
    resize(terminal, 44, 122, child)
    assert b"44 122" in read_until(terminal, b"44 122", told=child)
    os.write(terminal, b"\x03")
    assert b"interrupted in there" in read_until(terminal, b"interrupted in there")
    assert exit_code_of(child) == 9


SHOW_SIZES = """
trap 'echo interrupted in there; exit 9' INT
while [ "$(stty size)" != "33 101" ]; do sleep 0.1; done
test -t 0 && test -t 1 && echo tty
stty size; echo ready
while :; do sleep 0.2; stty size; done
"""


def resize(terminal, rows, columns, child):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.kill(child, signal.SIGWINCH)


def read_until(terminal, mark, told=None):
    """`told`: a process that is told meanwhile, again and again, of a new size: an engine may lose what it was told."""
    said, ready = b"", select.poll()  # `select` knows no descriptors from 1024 on, and the tests have so many
    ready.register(terminal, select.POLLIN)
    while mark not in said:
        if told is not None:
            os.kill(told, signal.SIGWINCH)
        if ready.poll(1000):
            said += os.read(terminal, 4096)
    return said


def exit_code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
