"""A run of these tests that is interrupted, or fails, leaves no server, worker, command, container or directory behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import leftovers, nested
from tests.conftest import ROOT, stacks_of
from tests.orchestrated.conftest import wait_for

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(600)]

HELD = ROOT / "tests" / "faults" / "held_tests.py"


@pytest.mark.parametrize(
    "how",
    [
        "ctrl-c",
        pytest.param("sigterm", marks=pytest.mark.exhaustive),
        pytest.param("failure", marks=pytest.mark.exhaustive),
    ],
)
def test_nothing_is_left(how: str, tmp_path: Path, docker_client: docker.DockerClient, tiny_image: str) -> None:
    environment = nested.environment()
    environment |= {"TESTS_HELD": str(tmp_path), "TESTS_FAIL": "yes" if how == "failure" else ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "load",
        "-p",
        "no:cacheprovider",
        str(HELD),
        "-k",
        "not alone",
    ]
    with (tmp_path / "said").open("w") as said:
        going = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: len(list(tmp_path.glob("gw*"))) == 2 or going.poll() is not None, timeout_s=300)
        holding = [Path(file.read_text()) for file in tmp_path.glob("gw*")]
        assert len(holding) == 2, (tmp_path / "said").read_text()
        (session,) = set(holding)
        if how == "failure":
            going.wait(300)
        else:
            assert_held(session, docker_client)
            if how == "ctrl-c":
                os.killpg(going.pid, signal.SIGINT)
            else:
                going.terminate()
            going.wait(300)
    finally:
        if going.poll() is None:
            os.killpg(going.pid, signal.SIGKILL)
            going.wait()
    assert going.returncode != 0
    assert leftovers.processes(session) == []
    assert not any(leftovers.everything(docker_client, stacks_of(session)).values())
    assert not session.exists()


def test_ctrl_c_is_not_taken_for_a_failure_of_one_test(tmp_path: Path) -> None:
    environment = nested.environment()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(HELD), "-k", "alone"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment | {"TESTS_HELD": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as going:
        wait_for(lambda: (tmp_path / "gw0").exists() or going.poll() is not None)
        going.send_signal(signal.SIGINT)
        said, _ = going.communicate(timeout=240)
    assert going.returncode == pytest.ExitCode.INTERRUPTED, said
    assert not (tmp_path / "after").exists()


def assert_held(session: Path, client: docker.DockerClient) -> None:
    """There is something that could be left."""
    lines = [
        Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in leftovers.processes(session)
    ]
    for words in ("-m moorage.hub.serve", "-m moorage.hub.worker_process", "/moorage up"):
        assert any(words in line for line in lines), (words, lines)
    found = leftovers.everything(client, stacks_of(session))
    assert {kind: len(many) for kind, many in found.items()} == {"containers": 2, "networks": 2, "volumes": 2}
