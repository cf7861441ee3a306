"""Thirty stacks at once from thirty shells, alone and beside eight busy loops: all come up, no two with the same port.

Limits are those that users have. How long it takes is told, not asserted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Project
from tests.counts import COUNTS, NOTES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.exhaustive, pytest.mark.timeout(3600)]

SHELLS = 30
PATIENCE_S = 1500
STACK = """
    services:
      db:
        image: {image}
        command: [sleep, infinity]
        stop_grace_period: 0s
        healthcheck: {{test: [CMD, "true"], interval: 5s}}
      web:
        image: {image}
        command: [httpd, -f, -p, "80"]
        stop_grace_period: 0s
        ports: ["{port}:80"]
        depends_on: {{db: {{condition: service_healthy}}}}
"""


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that never rest."""
    going = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in going:
            one.kill()
        for one in going:
            one.wait()


def ended(project: Project, command: subprocess.Popen[str], began: float) -> tuple[str, float]:
    """What it said, and after how many seconds it had ended."""
    try:
        out, said = command.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        command.kill()
        command.communicate()
        raise
    assert command.returncode == 0, f"{project.name}: exit {command.returncode}\n{out}\n{said}"
    return out, time.monotonic() - began


@pytest.mark.parametrize("loops", [0, 8], ids=["alone", "beside eight busy loops"])
def test_thirty_shells_at_once(
    tmp_path,
    stack_prefix,
    docker_client,
    tiny_image,
    wanted_port,
    machine_state,
    record_property,
    loops,
    shared_api_url,
):
    projects = []
    for n in range(SHELLS):
        folder = tmp_path / f"{stack_prefix}-{n}"
        folder.mkdir()
        projects.append(Project(folder, folder.name).compose(STACK.format(image=tiny_image, port=wanted_port)))
    with ThreadPoolExecutor(SHELLS) as pool:
        with busy(loops):
            began = time.monotonic()
            shells = [(project, project.start("up", "--json")) for project in projects]
            waiting = [pool.submit(ended, project, command, began) for project, command in shells]
            answers = [one.exception() or one.result() for one in waiting]
        failed = [str(one) for one in answers if isinstance(one, BaseException)]
        came = [one for one in answers if not isinstance(one, BaseException)]
        found = [json.loads(out) for out, _ in came]
        ports = [one["services"]["web"]["ports"][0]["published"] for one in found]
        ready = sum(one["state"] == "running" for one in found)
        longest_s = max((took_s for _, took_s in came), default=0.0)
        what = f"{SHELLS} shells{f' beside {loops} busy loops' if loops else ''}"
        record_property(COUNTS, {"of": what, "how": {"ready": ready, "ports": len(set(ports))}})
        record_property(NOTES, {"of": what, "lines": [f"the last one after {longest_s:.0f} s"]})
        print(f"{what}: {ready} of {SHELLS} ready, {len(set(ports))} different ports, the last after {longest_s:.0f} s")
        list(
            pool.map(
                lambda one: one.moorage("down", "--volumes", "--release-ports", exit_code=None, timeout_s=PATIENCE_S),
                projects,
            )
        )
    assert not failed, f"{len(failed)} failed:\n" + "\n".join(failed)
    assert (ready, len(set(ports))) == (SHELLS, SHELLS)
    machine_state.assert_same()
