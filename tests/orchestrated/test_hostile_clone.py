"""A project that somebody else wrote is data: no verb runs anything of it on this machine, or is configured by it.

Whatever is run leaves a directory behind, named after what ran it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(600)]

COMPOSE = """
    services:
      web:
        image: {image}
        command: [sleep, "1000"]
        init: true
        stop_grace_period: 0s
        cap_add: [SYS_PTRACE]
        env_file: [../{outside}]
        volumes: ["./data:/data:ro"]
"""
OVERRIDE = """
    services:
      web:
        pid: host
        volumes: ["/usr/share:/share:ro"]
"""
REMOTE = """
    include: ["https://github.com/moorage/nothing.git"]
    services: {web: {image: x}}
"""
ENV = """
PREFECT_LOGGING_SETTINGS_PATH=logging.yml
PREFECT_PROFILES_PATH=profiles.toml
PREFECT_CLIENT_MAX_RETRIES=abc
PREFECT_API_URL=http://127.0.0.1:9/api
MOORAGE_HOME=elsewhere
MOORAGE_COMPOSE=bin/docker
COMPOSE_EXPERIMENTAL_GIT_REMOTE=true
DOCKER_CONFIG=docker
DOCKER_HOST=unix:///nowhere.sock
PATH=bin
PYTHONPATH=.
LD_PRELOAD=bin/git
"""
MODULES = ("sitecustomize", "usercustomize", "docker", "prefect", "pydantic", "flows", "tasks", "blocks", "conftest")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Where that leaves a mark which is run."""
    folder = tmp_path / "ran"
    folder.mkdir()
    return folder


@pytest.fixture
def clone(project: Project, ran: Path, tiny_image: str) -> Project:
    """The project: everything in it that some program takes for its configuration, or for a part of itself."""
    outside = project.path.parent / "outside.env"
    outside.write_text("FROM_OUTSIDE=1\n")
    project.write("compose.yaml", COMPOSE.format(image=tiny_image, outside=outside.name))
    project.write("docker-compose.override.yml", OVERRIDE)
    project.write("remote.yaml", REMOTE)
    (project.path / "data").symlink_to("/usr/share/doc")
    project.write(".env", ENV)
    project.write("logging.yml", f"version: 1\nformatters: {{x: {{(): os.mkdir, path: {ran}/logging}}}}\n")
    project.write("prefect.toml", '[logging]\nconfig_path = "logging.yml"\n[client]\nmax_retries = "abc"\n')
    project.write("pyproject.toml", '[tool.prefect.logging]\nconfig_path = "logging.yml"\n')
    project.write("profiles.toml", '[profiles.ephemeral]\nPREFECT_LOGGING_SETTINGS_PATH = "logging.yml"\n')
    for module in MODULES:
        project.write(f"{module}.py", f"import os\nos.mkdir({str(ran / module)!r})\n")
    for program in ("git", "docker", "docker-compose", "docker-credential-x"):
        project.write(f"bin/{program}", f"#!/bin/sh\nmkdir {ran}/{program}\n").chmod(0o755)
    project.write("docker/config.json", '{"credsStore": "x"}')
    _make_repository(project, ran)
    return project


def _make_repository(project: Project, ran: Path) -> None:
    """With a branch that only git itself can tell, and a program for every occasion."""
    hook = project.write("hooks/post-checkout", f"#!/bin/sh\nmkdir {ran}/hook\n")
    hook.chmod(0o755)
    settings = {
        "core.fsmonitor": f"mkdir {ran}/fsmonitor",
        "core.hooksPath": str(hook.parent),
        "core.sshCommand": f"mkdir {ran}/ssh",
        "core.pager": f"mkdir {ran}/pager",
        "credential.helper": f"!mkdir {ran}/credential",
        "protocol.ext.allow": "always",
        f"url.ext::mkdir {ran}/transport .insteadOf": "https://github.com/",
        "filter.x.clean": f"mkdir {ran}/clean",
        "diff.external": f"mkdir {ran}/diff",
    }
    git = ["git", "-C", str(project.path)]
    subprocess.run([*git, "init", "-q"], check=True)
    for key, value in settings.items():
        subprocess.run([*git, "config", key, value], check=True)
    project.write(".gitattributes", "* filter=x diff=x\n")
    project.write(".git/HEAD", "ref: refs/heads/.invalid\n")


def test_no_verb_runs_anything_of_it(
    clone: Project, hub_address: HubAddress, ran: Path, machine_state: MachineState
) -> None:
    plan = clone.process("plan").stdout
    for told in (
        "services.web.env_file: ../outside.env is outside the project",
        f"services.web.volumes: {clone.path}/data leads to /usr/share/doc, outside the project",
        "services.web.volumes: /usr/share is outside the project",
        "services.web.cap_add: SYS_PTRACE",
        "services.web.pid: host",
    ):
        assert told in plan
    started = clone.process("up", "--json").json
    assert started["state"] == "running"
    # As a run of the hub that `.env` would have led away from.
    assert started["flow_run_url"].startswith(hub_address.ui_url)
    assert clone.process("status", "--json").json["state"] == "running"
    clone.process("sweep", "--json")
    clone.process("down", "--volumes", "--release-ports")
    assert [mark.name for mark in ran.iterdir()] == []


def test_python_m_imports_nothing_of_it(clone: Project, ran: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "moorage", "plan"], cwd=clone.path, capture_output=True, text=True, check=False
    )
    assert "services.web.pid: host" in done.stdout, done.stderr
    assert [mark.name for mark in ran.iterdir()] == []


def test_git_is_not_asked_for_parts_of_it(clone: Project, ran: Path) -> None:
    """Compose would have git fetch an `include`, in the repository that it runs in, whose configuration says how."""
    refused = clone.process("plan", "--file", "remote.yaml", exit_code=2)
    assert "COMPOSE_EXPERIMENTAL_GIT_REMOTE=true" in refused.stderr
    clone.process("plan", "--file", "remote.yaml", exit_code=2, COMPOSE_EXPERIMENTAL_GIT_REMOTE="true")
    assert [mark.name for mark in ran.iterdir()] == []
