"""What services use: real loads, measured."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

import pytest

from moorage.show.usage_text import usage_text
from moorage.work.queries.usage import Meter
from tests.conftest import run_moorage

pytestmark = pytest.mark.engine

MOORAGE = str(Path(sys.executable).with_name("moorage"))


async def test_load_memory_limit_network_restarts(stack):
    s = stack("""
        services:
          busy: {image: "${TINY_IMAGE}", command: [sh, -c, "while :; do :; done"], stop_grace_period: 0s, cpus: 0.5,
                 mem_limit: 64m}
          full:
            image: ${TINY_IMAGE}
            command: [sh, -c, "head -c 20000000 /dev/zero > /shm/x; touch /shm/ready; exec sleep 600"]
            tmpfs: [/shm]
            mem_limit: 64m
            stop_grace_period: 0s
            healthcheck: {test: [CMD, test, -f, /shm/ready]}
          two: {image: "${TINY_IMAGE}", command: [sleep, "600"], stop_grace_period: 0s, scale: 2}
          over: {image: "${TINY_IMAGE}", command: ["true"], x-moorage: {ready: {exit: 0}}}
    """)
    await s.up()
    meter = Meter(s.world, [s.name])
    (first,) = await meter.look()
    assert {service.total.cpu_percent for service in first.services.values()} == {0.0, None}
    await asyncio.sleep(1.0)
    (found,) = await meter.look()
    busy, full, two, over = (found.services[name] for name in ("busy", "full", "two", "over"))
    assert 5 < busy.total.cpu_percent < 75  # half a core at most, less where others want it too
    assert two.total.cpu_percent < 5
    assert full.total.memory_bytes > 20_000_000
    assert (full.total.memory_limit_bytes, busy.total.memory_limit_bytes) == (64 << 20, 64 << 20)
    assert list(two.containers) == [f"{s.name}-two-1", f"{s.name}-two-2"]
    assert two.total.processes == 2
    assert (over.state, over.total.memory_bytes) == ("exited", None)
    assert found.total.memory_bytes >= full.total.memory_bytes + busy.total.memory_bytes
    lines = usage_text([found]).splitlines()
    assert lines[0].split()[0] == "SERVICE"
    assert [line.split()[0] for line in lines[1:]] == ["busy", "full", "over", "two", "1", "2", "(all)"]

    said = run_moorage("stats", "two", "--json", directory=s.path)
    assert json.loads(said.stdout).keys() == {"stack", "total", "services"}
    assert list(json.loads(said.stdout)["services"]) == ["two"]
    on_terminal(s)


def on_terminal(s):
    """It goes on until Ctrl-C, on a screen of its own that it leaves behind as it was."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", COLUMNS="120", LINES="30")
        os.execv(MOORAGE, [MOORAGE, "stats", "--name", s.name])
    said = b""
    while said.count(b"(all)") < 2:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    while b"\x1b[?1049l" not in said:
        said += os.read(terminal, 4096)
    assert b"\x1b[?1049h" in said
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
