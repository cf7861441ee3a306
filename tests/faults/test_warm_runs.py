"""Runs of the worker are forked from a process that has Prefect imported; without it they start as Prefect does."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from moorage.hub import code_state
from tests.conftest import run_moorage
from tests.faults.conftest import free_port
from tests.faults.interrupting import Scene
from tests.orchestrated.conftest import PATIENCE_S, OwnHub, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(600)]


def template(hub: OwnHub) -> int:
    """The pid of the template, when it serves."""
    wait_for(lambda: hub.status()["template"]["pid"] and hub.folder.template_socket.exists(), PATIENCE_S)
    return int(hub.status()["template"]["pid"])


def forked(pid: int) -> list[str]:
    """The states of what a process has forked, and what that has. Nothing, if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [one.status() for one in psutil.Process(pid).children(recursive=True)]
    return []


def test_a_run_is_forked_and_ends_as_any_other(scene: Scene) -> None:
    pid = template(scene.hub)
    run = scene.gated().triggered()
    scene.waits()
    assert len(forked(pid)) >= 2, "a guard and the run"
    scene.open()
    assert scene.ends(run) == "COMPLETED"
    wait_for(lambda: forked(pid) == [] or set(forked(pid)) == {"zombie"}, PATIENCE_S)
    assert (
        f"forked from a template (pid {pid}"
        in run_moorage("hub", "status", directory=scene.project.path, **scene.project.env).stdout
    )
    scene.project.moorage("down", "--volumes", "--release-ports")
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_without_its_template_a_run_goes_on_and_the_next_one_starts_anew(scene: Scene) -> None:
    first = template(scene.hub)
    run = scene.gated().triggered()
    scene.waits()
    os.kill(first, signal.SIGKILL)
    scene.open()
    assert scene.ends(run) == "COMPLETED"
    assert scene.ends(scene.triggered()) == "COMPLETED"
    assert template(scene.hub) != first
    scene.project.moorage("down", "--volumes", "--release-ports")
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_with_other_code_the_template_begins_anew(scene: Scene) -> None:
    first = template(scene.hub)
    os.utime(code_state.__file__)
    run = scene.gated().triggered()
    scene.waits()
    assert [state for state in forked(first) if state != psutil.STATUS_ZOMBIE] == [], "it is started anew"
    scene.open()
    assert scene.ends(run) == "COMPLETED"
    wait_for(lambda: template(scene.hub) != first, PATIENCE_S)
    assert scene.ends(scene.triggered()) == "COMPLETED"
    scene.project.moorage("down", "--volumes", "--release-ports")
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_run_whose_guard_is_killed_ends_and_is_undone(scene: Scene) -> None:
    pid = template(scene.hub)
    run = scene.gated().triggered()
    scene.waits()
    for guard in psutil.Process(pid).children():
        if guard.status() != psutil.STATUS_ZOMBIE:
            guard.kill()
    assert scene.ends(run) == "CRASHED"
    scene.sweep()
    scene.assert_nothing_left()


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[OwnHub]:
    one = OwnHub(tmp_path, free_port())
    one.env["MOORAGE_HUB_WARM_RUNS"] = "false"
    yield one
    one.stop(timeout_s=1)


@pytest.mark.exhaustive
def test_it_can_be_left_out(cold: OwnHub) -> None:
    cold.start()
    assert cold.status()["template"]["pid"] is None
    assert not cold.folder.template_socket.exists()
