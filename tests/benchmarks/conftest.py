"""What benchmarks share: one hub, projects that both programs bring up in turn, and a place for figures."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.benchmarks import figures

BIN = Path(sys.executable).parent
ROUNDS = 5


@pytest.fixture
def figure(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., None]]:
    """`figure(what, value, bound, unit, how)`: kept and printed. A bound that is not kept fails the test at its end."""
    missed = []

    def add(
        what: str, value: float, bound: float, unit: str, how: str, *, at_least: bool = False, order: int = 0
    ) -> None:
        one = figures.Figure(what, float(f"{value:.3g}"), bound, unit, how, at_least, order)
        figures.keep(one)
        sign = "at least" if at_least else "at most"
        with capsys.disabled():
            print(f"\n{what}: {one.value:,g} {unit} ({sign} {bound:,g}) {'' if one.holds else '— NOT REACHED'} · {how}")
        if not one.holds:
            missed.append(one.what)

    yield add
    if missed:
        pytest.fail(f"not reached: {', '.join(missed)}", pytrace=False)


@pytest.fixture(scope="session")
def warm_hub() -> Iterator[None]:
    """A hub for all benchmarks of the session, a minute old."""
    run(BIN / "moorage", "hub", "start")
    time.sleep(60)
    yield
    run(BIN / "moorage", "hub", "stop")


def run(*command: str | Path, where: Path | None = None, exit_code: int = 0) -> float:
    """Run a command; seconds it took."""
    began = time.perf_counter()
    environment = os.environ | {"MOORAGE_HUB_WARM_COMMANDS": "true"}  # as people have it
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=900)
    took_s = time.perf_counter() - began
    assert done.returncode == exit_code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return took_s


@dataclass
class Both:
    """One directory for both programs; their stacks have names of their own."""

    path: Path
    times: dict[str, list[float]] = field(default_factory=dict)

    def write(self, text: str) -> None:
        """Write the compose file."""
        (self.path / "compose.yaml").write_text(text)

    def compose(self, *verb: str, exit_code: int = 0) -> float:
        """`docker compose VERB`; seconds."""
        return run(BIN / "docker-compose", "-p", f"{self.path.name}-c", *verb, where=self.path, exit_code=exit_code)

    def moorage(self, verb: str, *more: str, exit_code: int = 0) -> float:
        """`moorage VERB`; seconds of the whole process."""
        return run(BIN / "moorage", verb, "--name", self.path.name, *more, where=self.path, exit_code=exit_code)

    def note(self, what: str, seconds: float) -> None:
        """One of the times of which the median counts."""
        self.times.setdefault(what, []).append(seconds)

    def median(self, what: str) -> float:
        """Seconds."""
        return statistics.median(self.times[what])

    def how(self, ours: str, theirs: str) -> str:
        """What the ratio is made of."""
        return (
            f"{self.median(ours):.2f} s beside {self.median(theirs):.2f} s; medians of {len(self.times[ours])}, in turn"
        )

    def end(self) -> None:
        """Nothing is left of either."""
        self.compose("down", "-v", "-t", "0")
        self.moorage("down", "--volumes", "--release-ports")


@pytest.fixture
def both(tmp_path: Path, stack_prefix: str, docker_client: object) -> Iterator[Both]:
    """A directory whose stack both programs bring up."""
    path = tmp_path / stack_prefix
    path.mkdir()
    made = Both(path)
    yield made
    made.end()


def without_schedules() -> dict[str, str]:
    """The environment of a hub that starts nothing by itself."""
    return os.environ | {"MOORAGE_SCHEDULES": "false"}
