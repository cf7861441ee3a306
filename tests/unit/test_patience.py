"""Time limits on a machine that is busy."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from moorage.adapters import patience as adapter
from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.compose.limits import limiting
from moorage.adapters.compose.program import find_program
from moorage.adapters.engine.client import DockerEngine
from moorage.errors import ComposeUnavailableError, DefinitionError, EngineUnavailableError
from moorage.model.definition import Source
from moorage.rules.patience import extended_s, words
from moorage.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("load", "cores", "limit_s"),
    [(0.0, 2, 10.0), (2.0, 2, 10.0), (8.0, 2, 40.0), (8.0, 16, 10.0), (400.0, 2, 100.0), (1.0, 0, 10.0)],
)
def test_a_limit_grows_with_the_load(load, cores, limit_s):
    assert extended_s(10.0, load, cores) == limit_s


def test_it_says_what_it_waits_for():
    assert words("compose create has not ended", 90.2) == (
        "waiting: compose create has not ended for 90 s; this machine is busy"
    )


@pytest.fixture
def slow_engine(tmp_path, monkeypatch) -> Iterator[None]:
    """It takes connections, and answers none of them."""
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield


def load_of(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """The load, each time that it is asked for; the last one stays."""
    left = list(values)
    monkeypatch.setattr(adapter.os, "getloadavg", lambda: ((left.pop(0) if len(left) > 1 else left[0]), 0.0, 0.0))
    monkeypatch.setattr(adapter.os, "cpu_count", lambda: 1)


def test_an_engine_that_is_busy_is_asked_again_and_that_is_told(tmp_path, slow_engine, monkeypatch):
    load_of(monkeypatch, 9.0, 1.0)  # asked for when a try has failed
    told: list[str] = []
    with pytest.raises(EngineUnavailableError, match="timed out"):
        DockerEngine(Settings(home=tmp_path, connect_timeout_s=1), told.append).ping()
    assert len(told) == 1
    assert told[0].startswith("waiting: the engine at unix://")
    assert told[0].endswith("this machine is busy")


def test_one_that_is_not_there_is_not_waited_for(tmp_path, monkeypatch):
    load_of(monkeypatch, 400.0)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    told: list[str] = []
    with pytest.raises(EngineUnavailableError):
        DockerEngine(Settings(home=tmp_path), told.append).ping()
    assert not told


def program(folder: Path, then: str) -> Path:
    """A Compose that says its version at once, and is slow at the rest."""
    path = folder / "compose"
    path.write_text(f'#!/bin/sh\nif [ "$1" = version ]; then echo 5.0.0; exit; fi\n{then}\n')
    path.chmod(0o755)
    return path


def test_a_create_gets_longer_on_a_busy_machine_and_that_is_told(tmp_path, monkeypatch):
    load_of(monkeypatch, 10.0)
    released, told = tmp_path / "released", []

    def on_wait(said: str) -> None:
        told.append(said)
        released.touch()

    slow = program(tmp_path, f"while [ ! -e {released} ]; do sleep 0.05; done")
    limits = Settings(home=tmp_path, compose=slow, engine_timeout_s=2, compose_timeout_s=1)
    ComposeCli(limits, (), on_wait).create("x", tmp_path / "c.yaml", (), False, lambda _line: None)
    assert told
    assert all(one.startswith("waiting: compose create has not ended for ") for one in told)


def test_a_create_that_hangs_is_ended_all_the_same(tmp_path, monkeypatch):
    load_of(monkeypatch, 1.0)
    limits = Settings(home=tmp_path, compose=program(tmp_path, "exec sleep 600"))
    hasty = ComposeCli(limits.model_copy(update={"engine_timeout_s": 0.2, "compose_timeout_s": 0.2}))
    with pytest.raises(Exception, match="timed out after"):
        hasty.create("x", tmp_path / "c.yaml", (), False, lambda _line: None)


def test_a_compose_that_does_not_say_its_version(tmp_path, monkeypatch):
    load_of(monkeypatch, 1.0)
    monkeypatch.setattr("moorage.adapters.compose.program._VERSION_S", 0.2)
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 600\n")
    mute.chmod(0o755)
    with pytest.raises(ComposeUnavailableError, match="did not say its version within"):
        find_program(mute)


SPIN = "while :; do :; done"


@pytest.mark.parametrize("then", [SPIN, f"sh -c '{SPIN}'; exit 255"], ids=["itself", "as a plugin of docker"])
def test_a_definition_that_only_keeps_the_processor_busy_gets_no_longer(tmp_path, monkeypatch, then):
    """Ten times as long is for who waits for a processor, not for who has one."""
    load_of(monkeypatch, 10.0)
    told: list[str] = []
    spinning = program(tmp_path, then)
    limits = Settings(home=tmp_path, compose=spinning, compose_timeout_s=1)
    with pytest.raises(DefinitionError, match=r"^compose config: no answer within 1 s of work"):
        ComposeCli(limits, (), told.append).raw_config(Source(directory=tmp_path))


def test_limits_are_the_same_without_prlimit(monkeypatch):
    def limited() -> str:
        limiting.cache_clear()
        command = [
            *limiting(256 << 20, 7),
            "/bin/sh",
            "-c",
            "ulimit -S -d; ulimit -H -d; ulimit -S -t; ulimit -H -t",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with_it = limited()
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert limited() == with_it == "262144\n262144\n7\n7\n"
    limiting.cache_clear()
