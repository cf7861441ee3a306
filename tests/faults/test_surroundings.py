"""The command in surroundings that nobody wants: each time it says where, what and what next, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moorage.adapters.engine.client import DockerEngine
from moorage.settings import settings

if TYPE_CHECKING:
    from tests.conftest import Project

MOORAGE = Path(sys.executable).with_name("moorage")
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MOORAGE, *args], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        "ls",
        "status",
        "up",
        "ci -- true",
        "doctor",
        "hub status",
        "hub start",
        "sweep",
        "history",
        "ports --all",
        "plan",
    ],
)
def test_a_home_that_cannot_be_looked_at(project: Project, tmp_path: Path, command: str) -> None:
    project.compose("services: {web: {image: x, ports: ['8000']}}")
    # As root every directory can be looked at; a name that is too long cannot, for anybody.
    done = run(*command.split(), cwd=project.path, MOORAGE_HOME=str(tmp_path / ("x" * 300)))
    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert "Set MOORAGE_HOME to a folder" in said
    assert "Traceback" not in said


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone}; exec {MOORAGE} status"
    done = subprocess.run(["sh", "-c", script], cwd=gone, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the working directory is gone\n")


def test_a_terminal_without_arrows(project: Project) -> None:
    project.compose("services: {web: {image: x, labels: {note: 'naïve → ☃'}}}")
    doctor = run("doctor", cwd=project.path, **ASCII, **NO_ENGINE)
    assert doctor.returncode == 4
    assert "-> Start it" in doctor.stdout
    error = run("status", "--json", cwd=project.path, **ASCII, **NO_ENGINE)
    assert json.loads(error.stdout)["exit_code"] == 4
    assert "-> Start it" in error.stderr
    config = run("config", cwd=project.path, **ASCII)
    assert json.loads(config.stdout)["services"]["web"]["labels"]["note"] == "naïve → ☃"


@pytest.mark.parametrize(
    ("cause", "said", "advised"),
    [
        (
            "('Connection aborted.', PermissionError(13, 'Permission denied'))",
            "permission denied",
            "usermod -aG docker",
        ),
        ("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))", "no such file", "Start it"),
        ("something else", "something else", "Start it"),
    ],
)
def test_why_no_engine_answers(cause: str, said: str, advised: str) -> None:
    error = DockerEngine(settings()).unavailable(Exception(cause))
    assert f": {said}" in str(error)
    assert "Connection aborted" not in str(error)
    assert advised in (error.hint or "")
