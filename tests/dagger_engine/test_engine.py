"""What needs a real engine of Dagger: `make test-dagger`. Not part of `make test`; without an engine these fail.

`_EXPERIMENTAL_DAGGER_CLI_BIN` names the CLI, `_EXPERIMENTAL_DAGGER_RUNNER_HOST` the engine, unless the CLI is to start one.
The engine pulls the official base images, so it needs a registry or a mirror of one.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from moorage.adapters.dagger.builder import DaggerBuilder
from moorage.adapters.dagger.preflight import DaggerLook
from moorage.adapters.engine.client import DockerEngine
from moorage.model.image import BuildSpec
from moorage.settings import Settings
from tests.conftest import ROOT, Project

pytestmark = [pytest.mark.timeout(900)]

OFFICIAL = {"PYTHON_IMAGE": "python:3.12-slim", "NODE_IMAGE": "node:24-slim"}
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

ports = {int(value) for name, value in os.environ.items() if name.startswith("MOORAGE_PORT_")}
lines = [line.split() for table in ("tcp", "tcp6") for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]]
listening = {(int(one[1].split(":")[1], 16), one[1].split(":")[0]) for one in lines if one[3] == "0A"}
ours = {(port, address) for port, address in listening if port in ports}
loopback = {"0100007F", "00000000000000000000000001000000"}
print(json.dumps({"ports": sorted(ports), "elsewhere": sorted(port for port, address in ours if address not in loopback)}))
"""


@pytest.fixture(scope="session", autouse=True)
def dagger_answers(engine_answers: str) -> None:
    """A CLI and an engine. Without them the test FAILS: a test that did not run has shown nothing."""
    found = DaggerLook(Settings(), DockerEngine(Settings())).preflight()
    if not found.usable:
        pytest.fail(f"Dagger cannot be used: {found.reason}\n{chr(10).join(found.found)}\n{found.hint}", pytrace=False)


@pytest.fixture
def example(tmp_path: Path, stack_prefix: str, docker_client) -> Project:
    path = tmp_path / stack_prefix
    ignored = shutil.ignore_patterns("node_modules", "dist", ".env")
    shutil.copytree(ROOT / "examples" / "commandcenter", path, ignore=ignored)
    return Project(path, path.name, dict(OFFICIAL))


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


def test_a_command_that_fails_shows_its_output(tmp_path, stack_prefix, docker_client):
    (tmp_path / "Dockerfile").write_text("FROM busybox:1.36\nRUN echo about to fail && exit 3\n")
    builder = DaggerBuilder(Settings(), DockerEngine(Settings()))
    spec = BuildSpec(
        stack=stack_prefix,
        service="web",
        tag=f"{stack_prefix}-web",
        file=tmp_path / "x",
        build={"context": str(tmp_path), "dockerfile": "Dockerfile"},
    )
    with pytest.raises(Exception, match="build failed") as caught:
        builder.build(spec, print)
    assert "about to fail" in caught.value.fields["log"]
