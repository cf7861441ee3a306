"""The example, built by a real engine of Dagger and run in it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project

pytestmark = [pytest.mark.timeout(900)]

WITHOUT_LIMITS = """
services:
  postgres: {deploy: !reset null, shm_size: !reset null}
  redis: {deploy: !reset null}
  backend: {deploy: !reset null}
  frontend: {deploy: !reset null}
"""
WRITE_AND_READ = """
import json, os, pathlib, urllib.request as u

def call(path, data=None):
    body = None if data is None else json.dumps(data).encode()
    request = u.Request(os.environ["MOORAGE_URL_BACKEND_8000"] + path, body, {"Content-Type": "application/json"})
    with u.urlopen(request, timeout=60) as answer:
        return json.load(answer)

assert call("/health")["status"] == "ok"
call("/api/notes", {"body": "written through Dagger"})
assert "written through Dagger" in json.dumps(call("/api/notes"))
assert u.urlopen(os.environ["MOORAGE_URL_FRONTEND_3000"], timeout=60).status == 200

ports = {int(value) for name, value in os.environ.items() if name.startswith("MOORAGE_PORT_") and value.isdigit()}
lines = [line.split() for table in ("tcp", "tcp6") for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]]
listening = {(int(one[1].split(":")[1], 16), one[1].split(":")[0]) for one in lines if one[3] == "0A"}
ours = {(port, address) for port, address in listening if port in ports}
loopback = {"0100007F", "00000000000000000000000001000000"}
print(json.dumps({"ports": sorted(ports), "elsewhere": sorted(port for port, address in ours if address not in loopback)}))
"""


@pytest.fixture
def example(tmp_path: Path, stack_prefix: str, docker_client) -> Project:
    """With the base images of this machine: where `make images` made stand-ins, `.env` has their names."""
    path = tmp_path / stack_prefix
    ignored = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(ROOT / "examples" / "commandcenter", path, ignore=ignored)
    return Project(path, path.name)


def test_both_images_of_the_example_are_built_and_run(example, machine_state):
    up = example.moorage("up", "--builder", "dagger", "--json", timeout_s=800).json
    assert {name for name, one in up["services"].items() if one["ready"]} == {
        "postgres",
        "redis",
        "backend",
        "frontend",
    }
    assert example.moorage("up", "--json").json["changed"] == [], "built by Dagger, and nothing to build for Compose"
    users = {
        name: machine_state.client.images.get(f"{example.name}-{name}").attrs["Config"]["User"]
        for name in ("backend", "frontend")
    }
    assert users == {"backend": "10001:10001", "frontend": "node"}
    example.moorage("down", "--volumes", "--release-ports")


def test_a_throw_away_stack_of_the_example(example):
    """Four services ready, PostgreSQL written and read, tunnels on the loopback address only, nothing left."""
    (example.path / "dagger.yaml").write_text(WITHOUT_LIMITS)
    files = ["-f", "compose.yaml", "-f", "dagger.yaml"]
    command = [sys.executable, "-c", WRITE_AND_READ]
    done = example.moorage("ci", "--engine", "dagger", *files, "--", *command, timeout_s=800)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert len(seen["ports"]) == 4
    assert seen["elsewhere"] == []
    assert [line.split(":")[0] for line in done.stderr.splitlines() if ": ready (" in line] == [
        "postgres",
        "redis",
        "backend",
        "frontend",
    ]
    assert done.stderr.index("frontend: stopped") < done.stderr.index("postgres: stopped")
