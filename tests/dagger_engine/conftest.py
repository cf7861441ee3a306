"""What needs a real engine of Dagger: `make test-dagger`. Not part of `make test`.

`_EXPERIMENTAL_DAGGER_CLI_BIN` names the CLI, `_EXPERIMENTAL_DAGGER_RUNNER_HOST` the engine, unless the CLI is to start one.
The engine pulls base images, so it needs a registry or a mirror of one, which has those of the example, too (`.env` there
names stand-ins, if there are any). `DAGGER_TEST_IMAGE` names another small image than busybox; it has to be there for amd64
and arm64. The registry of `test_builds.py` is at 127.0.0.1: the engine must be on this machine, in its network.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.adapters.dagger.preflight import DaggerLook
from moorage.adapters.engine.client import DockerEngine
from moorage.settings import Settings
from tests.conftest import Project
from tests.contract.dagger_server import processes_with, wait_until

SMALL = os.environ.get("DAGGER_TEST_IMAGE") or "busybox:1.36"


@pytest.fixture(scope="session", autouse=True)
def dagger_answers(engine_answers: str) -> None:
    """A CLI and an engine. Without them nothing has been shown, so the run fails, with one sentence."""
    found = DaggerLook(Settings(), DockerEngine(Settings())).preflight()
    if not found.usable:
        pytest.exit(f"Dagger cannot be used: {found.reason}. {found.hint}", returncode=pytest.ExitCode.INTERRUPTED)


@pytest.fixture
def lone(
    tmp_path: Path, stack_prefix: str, monkeypatch: pytest.MonkeyPatch, docker_client: object
) -> Iterator[Project]:
    """A project; the test fails if a process of a session is left, or a file."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    made = Project(tmp_path / stack_prefix, stack_prefix, {"TMPDIR": str(temporary), "MARK": secrets.token_hex(16)})
    made.path.mkdir()
    made.moorage("--version")  # what it forks from is there before the mark
    yield made
    assert wait_until(lambda: not processes_with(made.env["MARK"])), processes_with(made.env["MARK"])
    assert list(temporary.iterdir()) == []
