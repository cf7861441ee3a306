"""`moorage ci -- pytest` on the example with PostgreSQL and Redis, as a job on GitHub runs it in a clean clone."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moorage.rules.addresses import line_of_service
from tests.e2e.test_commandcenter import copy_of_example

if TYPE_CHECKING:
    from tests.conftest import Finished, MachineState, Project

pytestmark = [pytest.mark.engine, pytest.mark.e2e, pytest.mark.timeout(600)]

TESTS = """
import json, os, urllib.request

BACKEND = os.environ["MOORAGE_URL_BACKEND_8000"]

def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BACKEND + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)

def test_database_and_cache_answer():
    health = ask("/health")
    assert health["postgres"]["ok"] and health["redis"]["ok"]

def test_a_note_is_kept():
    ask("/api/notes", {"body": "written by CI"})
    assert "written by CI" in json.dumps(ask("/api/notes"))

def test_front_end_knows_the_api():
    with urllib.request.urlopen(os.environ["MOORAGE_URL_FRONTEND_3000"] + "/config.json", timeout=60) as answer:
        assert json.load(answer)["apiUrl"].endswith(":" + os.environ["MOORAGE_PORT_BACKEND_8000"])
"""
SERVICES = ("backend", "frontend", "postgres", "redis")
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com")


@pytest.fixture
def clone(tmp_path: Path, stack_prefix: str, moorage_home: Path, machine_state: MachineState) -> Project:
    """A clean clone of a repository with the example and tests for it."""
    origin = copy_of_example(tmp_path / "origin" / stack_prefix)
    origin.write("test_api.py", TESTS)
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*GIT, *command], cwd=origin.path, check=True)
    subprocess.run(["git", "clone", "-q", origin.path, tmp_path / stack_prefix], check=True)
    return type(origin)(tmp_path / stack_prefix, stack_prefix)


def job(clone: Project, state: MachineState, home: Path, exit_code: int) -> tuple[Finished, str]:
    """One job; what it said, and its summary. Nothing of it is left on the machine."""
    summary = clone.path / "summary.md"
    summary.unlink(missing_ok=True)
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=reports/tests.xml"]
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_WORKSPACE": str(clone.path)}
    done = clone.moorage(
        *("ci", "--artifacts", "kept", "--junit", "reports", "--", *pytest_run),
        exit_code=exit_code,
        timeout_s=300,
        **env,
    )
    state.assert_same()
    assert [tag for image in state.client.api.images() for tag in image["RepoTags"] or () if state.prefix in tag] == []
    registry = sqlite3.connect(home / "hub.db")
    assert registry.execute("SELECT stack FROM leases UNION SELECT name FROM stacks").fetchall() == []
    registry.close()
    return done, summary.read_text()


def test_green_red_and_broken(clone: Project, machine_state: MachineState, moorage_home: Path) -> None:
    done, summary = job(clone, machine_state, moorage_home, exit_code=0)
    assert "3 passed" in done.stdout
    assert "| tests.xml | 3 | 0 | 0 |" in summary
    assert all(f"ready {service}" in summary for service in SERVICES), "the timeline"
    assert not (clone.path / "kept" / "logs").exists()

    (clone.path / "test_red.py").write_text("def test_red(): assert 'a' == 'b'\n")
    done, summary = job(clone, machine_state, moorage_home, exit_code=1)
    assert "1 failed, 3 passed" in done.stdout
    assert "`test_red.test_red`" in summary
    kept = clone.path / "kept"
    assert {file.name for file in (kept / "logs").iterdir()} == {f"{service}-1.log" for service in SERVICES}
    assert "ready to accept connections" in (kept / "logs" / "postgres-1.log").read_text()
    assert json.loads((kept / "result.json").read_text())["exit_code"] == 1

    main = clone.path / "backend" / "app" / "main.py"
    main.write_text(main.read_text() + "\nraise RuntimeError('no table users')\n")
    done, summary = job(clone, machine_state, moorage_home, exit_code=5)
    assert "passed" not in done.stdout
    for said in (done.stderr, summary):
        assert "services.backend: " in said.replace("\\", "")
        assert "exit code 1" in said
        assert "RuntimeError: no table users" in said
    line = line_of_service((clone.path / "compose.yaml").read_text(), "backend")
    assert f"::error file=compose.yaml,line={line}," in done.stderr
    assert "no table users" in (clone.path / "kept" / "logs" / "backend-1.log").read_text()
