"""A program in a container that is not waited for any more is ended there, with its children."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from moorage.adapters.engine import left_processes
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import EngineError
from moorage.settings import Settings

pytestmark = pytest.mark.engine
HANGS = ["sh", "-c", "sleep 1111 & sleep 2222; true"]


@pytest.fixture
def start(docker_client: docker.DockerClient, tiny_image: str, stack_prefix: str) -> Iterator[Callable[..., Any]]:
    """Starts a container that does nothing; it goes with the test."""
    made = []

    def begin(**how: Any) -> Any:
        command = ["sleep", "3333"]
        name = f"{stack_prefix}-{len(made)}"
        made.append(docker_client.containers.run(tiny_image, command, name=name, init=True, detach=True, **how))
        return made[-1]

    yield begin
    for one in made:
        one.remove(force=True)


def running(container: Any) -> list[str]:
    """The programs in it, without those that it began with."""
    found = container.top()
    command = found["Titles"].index("CMD")
    return [line[command] for line in found["Processes"] if "3333" not in line[command]]


def gone(container: Any) -> bool:
    """Whether all of them end; the engine takes a moment for it."""
    deadline = time.monotonic() + 30
    while running(container) and time.monotonic() < deadline:
        time.sleep(0.05)
    return running(container) == []


@pytest.mark.parametrize("how", [{}, {"user": "1234:1234"}, {"cap_drop": ["ALL"], "user": "0:0"}], ids=str)
def test_it_ends_with_its_children(start, how, monkeypatch, tmp_path):
    """From within the container: so also on another machine, and for who is not root here."""
    monkeypatch.setattr(left_processes, "end_process_of", lambda *_: pytest.fail("its processes are not seen here"))
    container = start(**how)
    with pytest.raises(EngineError, match=r"no end within 0\.3 s"):
        DockerEngine(Settings(home=tmp_path)).exec(container.id, HANGS, timeout_s=0.3)
    assert gone(container), running(container)


def test_others_stay(start, tmp_path):
    """Those of the service itself, and of others who have begun the same program."""
    container, engine = start(), DockerEngine(Settings(home=tmp_path))
    container.exec_run(["sleep", "4444"], detach=True)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"no end within 0\.3 s"):
            engine.exec(container.id, ["sleep", "4444"], timeout_s=0.3)
    deadline = time.monotonic() + 30
    while len(running(container)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(container) == ["sleep 4444"]


def test_without_a_shell_the_program_itself_ends(start, monkeypatch, tmp_path):
    """Where we see its processes and may kill them."""
    monkeypatch.setattr(left_processes, "_END_ALL", "exit 127")
    container = start()
    with pytest.raises(EngineError, match=r"no end within 0\.3 s"):
        DockerEngine(Settings(home=tmp_path)).exec(container.id, ["sleep", "4444"], timeout_s=0.3)
    assert gone(container), running(container)


def test_one_that_closes_its_output_is_waited_for(start, tmp_path):
    """Its exit code is what counts; it was taken for one without."""
    container, engine = start(), DockerEngine(Settings(home=tmp_path))
    command = ["sh", "-c", "exec >&- 2>&-; sleep 0.4; exit 3"]
    assert engine.exec(container.id, command) == (3, "")
    with pytest.raises(EngineError, match=r"no end within 0\.3 s"):
        engine.exec(container.id, ["sh", "-c", "exec >&- 2>&-; sleep 600"], timeout_s=0.3)
    assert gone(container), running(container)
