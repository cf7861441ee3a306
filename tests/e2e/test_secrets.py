"""The example's secrets, searched for wherever a run leaves something: databases, logs, artifacts, command lines."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, Project, run_in
from tests.orchestrated.conftest import create_run, hub_address, wait_for, wait_for_state  # noqa: F401 - a fixture
from tests.orchestrated.test_forms import places_of, save_block

if TYPE_CHECKING:
    import docker

    from moorage.hub.api import HubAddress

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

MARKS = {
    "POSTGRES_PASSWORD": "pgmark-7Yq2wLr9",
    "API_TOKEN": "tokmark-4Hn8sXc1",
    "STRIPE_KEY": "keymark-9Vb3kZe6",
    "CACHE_URL": "redis://me:urlmark-2Fd5mPt8@redis:6379/0",
    "SIGNING_SECRET": "sigmark-6Jg1uQa4",
}
SECRETS = [*(value for name, value in MARKS.items() if name != "CACHE_URL"), "urlmark-2Fd5mPt8"]
MORE = """
services:
  backend:
    environment:
      API_TOKEN: ${API_TOKEN}
      STRIPE_KEY: ${STRIPE_KEY}
      CACHE_URL: ${CACHE_URL}
    secrets: [signing]
    read_only: false  # Compose copies such a secret into the container, which the engine refuses where all is read-only
secrets:
  signing: {environment: SIGNING_SECRET}
"""
BREAKS = """
  frontend:
    environment: {API_TOKEN: "${API_TOKEN}"}
    command: [sh, -c, 'echo "last words: $$API_TOKEN"; exit 3']
"""


def test_the_examples_secrets_are_nowhere(
    hub_address: HubAddress,  # noqa: F811 - a fixture
    tmp_path: Path,
    stack_prefix: str,
    session_dir: Path,
    docker_client: docker.DockerClient,
) -> None:
    project = Project(tmp_path / f"{stack_prefix}-cc", f"{stack_prefix}-cc")
    shutil.copytree(ROOT / "examples" / "commandcenter", project.path, ignore=shutil.ignore_patterns("node_modules"))
    more = project.write("more.yaml", MORE)
    given = {"path": str(project.path), "files": ["compose.yaml", "more.yaml"], "secrets": MARKS}
    save_block(hub_address, f"StackSource(**{given!r}).save({project.name!r})")
    with watched() as seen:
        up = create_run(hub_address, "up", stack=project.name)
        wait_for_state(hub_address, up, "COMPLETED")
        for verb in ("restart", "status"):
            wait_for_state(hub_address, create_run(hub_address, verb, stack=project.name), "COMPLETED")
        backend = docker_client.containers.get(f"{project.name}-backend-1")
        held = run_in(backend, "env")
        assert all(value in held for name, value in MARKS.items() if name != "SIGNING_SECRET")
        more.write_text(MORE.replace("secrets:\n  signing", BREAKS.lstrip("\n") + "secrets:\n  signing"))
        failed = create_run(hub_address, "up", stack=project.name)
        state = wait_for_state(hub_address, failed, "FAILED")
        for verb in (("config",), ("plan",), ("history", "--runs"), ("logs", "--failed")):
            project.moorage(*verb, "-p", project.name, exit_code=None)
        project.moorage("down", project.name, "--volumes", "--release-ports")
    wait_for(lambda: "last words: ****" in _everything_in(session_dir))
    assert "exit" in state["message"]
    for secret in SECRETS:
        assert places_of(secret, session_dir) == []
        assert [line for line in seen if secret in line] == []
    assert any("compose" in line for line in seen), "command lines were looked at while it ran"


@contextmanager
def watched() -> Iterator[set[str]]:
    """All command lines of the machine, as they were while the block was at work."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    try:
                        seen.add((entry / "cmdline").read_text(errors="replace"))
                    except OSError:
                        continue

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()


def _everything_in(folder: Path) -> str:
    """All text in Prefect's database, by SQL."""
    (file,) = folder.rglob("prefect.db")
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        return "\n".join(line for line in database.iterdump() if line.startswith("INSERT"))
