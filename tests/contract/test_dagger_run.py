"""Whole runs whose images are built by Dagger: real command, real SDK, real Docker engine, no engine of Dagger."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.contract.dagger_server import Session, processes_with, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.engine]


@pytest.fixture
def built(
    project: Project,
    session: Session,
    dagger_folder: Path,
    moorage_home: Path,
    tiny_image: str,
    machine_state: MachineState,
) -> Project:
    project.write("Dockerfile", f'FROM {tiny_image}\nCOPY said /said\nUSER 1234\nCMD ["sleep", "600"]\n')
    project.write("said", "hello")
    project.compose("services: {web: {build: ., init: true}}\nx-moorage: {builder: dagger}\n")
    project.env.update(TMPDIR=str(dagger_folder), DAGGER_TEST_MARK=project.name)
    session.docker = machine_state.client
    return project


def assert_nothing_runs(built: Project) -> None:
    assert wait_until(lambda: not processes_with(built.name))


def test_its_images_are_as_any_other(built: Project, session: Session) -> None:
    """The stack comes up with them, and its end takes them away."""
    built.moorage("ci", "--", "true")
    assert len(session.arguments_of("export")) == 1
    assert_nothing_runs(built)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)])
def test_a_cancel_in_the_middle_of_a_build(built: Project, session: Session, number: int) -> None:
    session.hang = "export"
    with built.start("ci", "--", "true") as process:
        assert wait_until(lambda: session.fields("File"))
        process.send_signal(number)
        assert process.wait(60) == 130
    assert_nothing_runs(built)


def test_a_build_that_takes_too_long(built: Project, session: Session) -> None:
    session.hang = "export"
    failed = built.moorage("ci", "--", "true", exit_code=5, MOORAGE_IMAGE_TIMEOUT_S="1")
    assert "timed out after 1 s" in failed.stderr
    assert_nothing_runs(built)


def test_a_kill_in_the_middle_of_a_build(built: Project, session: Session) -> None:
    """The session hears the end of its input; the next call of Moorage undoes what the run had leased and written."""
    session.hang = "export"
    with built.start("ci", "--", "true") as process:
        assert wait_until(lambda: session.fields("File"))
        process.kill()
        process.wait()
    assert_nothing_runs(built)
    assert built.moorage("ls", "--json").json == []
