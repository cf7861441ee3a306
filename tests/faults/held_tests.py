"""Tests that hold what tests can hold, until they are interrupted. `test_interrupted_tests` runs them; nobody else does."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.orchestrated.conftest import hub_address, wait_for  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from tests.conftest import MachineState, Project

STACK = """
    services:
      web: {{image: '{image}', command: sleep 600, volumes: ['data:/data'], x-moorage: {{ready: {{exec: {ready}}}}}}}
    volumes: {{data: {{}}}}
"""


def held(session_dir: Path) -> None:
    """Say so; then fail, if that is what is asked for, or wait for the end."""
    Path(os.environ["TESTS_HELD"], os.environ.get("PYTEST_XDIST_WORKER", "gw0")).write_text(str(session_dir))
    if os.environ.get("TESTS_FAIL"):
        pytest.fail("as it was told")
    time.sleep(600)


@pytest.mark.usefixtures("hub_address")
def test_a_stack_and_the_hub(project: Project, tiny_image: str, session_dir: Path) -> None:
    project.compose(STACK.format(image=tiny_image, ready="'true'"))
    project.moorage("up")
    held(session_dir)


def test_a_command_that_goes_on(
    project: Project, tiny_image: str, machine_state: MachineState, session_dir: Path
) -> None:
    project.compose(STACK.format(image=tiny_image, ready="'false', timeout: 600s"))
    going = project.start("up")
    wait_for(lambda: bool(machine_state.now()["containers"]), timeout_s=300)
    assert going.poll() is None
    held(session_dir)


async def test_alone_takes_a_cancel_for_its_own(session_dir: Path) -> None:
    """As one does that calls Moorage in its own process: a cancelled run is undone, and ends with an error."""
    Path(os.environ["TESTS_HELD"], "gw0").write_text(str(session_dir))
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        pytest.fail("undone")


def test_alone_comes_after_it() -> None:
    Path(os.environ["TESTS_HELD"], "after").touch()
