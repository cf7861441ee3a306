"""What one `up` goes through, counted by `scripts/count-up` while it really runs, with Prefect."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.architecture.house import ROOT

if TYPE_CHECKING:
    from tests.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(900)]

VARIABLE = """
    services:
      web: {{image: '{image}', command: [sleep, '600'], stop_grace_period: 0s, ports: ['${{WEB_PORT:-{port}}}:80'],
             x-moorage: {{ready: {{exec: 'true'}}}}}}
      api: {{image: '{image}', command: [sleep, '600'], stop_grace_period: 0s,
             environment: {{WEB: 'http://localhost:${{WEB_PORT:-{port}}}'}}}}
"""


def counts_of_up(project: Project) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "scripts" / "count-up"), str(project.path)]
    done = subprocess.run(command, env=os.environ | project.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(counts)
    return counts


def test_one_up(project: Project, tiny_image: str, wanted_port: int, shared_api_url: str) -> None:
    """Two readings of the definition, a third for a port that is moved; one event loop; one creation."""
    project.compose(VARIABLE.format(image=tiny_image, port=wanted_port))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", wanted_port))
        holder.listen()
        moved = counts_of_up(project)
    assert moved["compose"] == ["config"] * 3 + ["create"]
    project.moorage("down", "--release-ports")
    plain = counts_of_up(project)
    assert plain["compose"] == ["config"] * 2 + ["create"]
    assert moved["event_loops"] == plain["event_loops"] == 1
