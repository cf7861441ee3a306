"""Eight clients, three stacks, and everything that goes wrong meanwhile; then the histories are judged.

`make torture` goes on for an hour (`TORTURE_S`), `make faults` for two minutes; `TORTURE_SEED` draws the same verbs and
nemeses again, though not the same interleaving. What happened is kept in `TORTURE_DIR`, which is printed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command_server import PLANTED_VARIABLE
from tests.conftest import ROOT, ports_of
from tests.counts import COUNTS, NOTES
from tests.torture.__main__ import environment, inside
from tests.torture.arena import Arena
from tests.torture.game import Game, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker

TORTURE_S = float(os.environ.get("TORTURE_S", "120"))
PLANTED_S, PLANTED_SEED = 600.0, 101
"""With a planted fault a torture ends with the round that finds it."""
SETTLING_S = 900
"""What begins before the time is over may wait for others, and the last judgement takes its time."""


def seed() -> int:
    return int(os.environ.get("TORTURE_SEED") or secrets.randbelow(10**6))


def told(report: Report, place: Path, record_property: object) -> None:
    """Print it, and fail with what is wrong."""
    assert callable(record_property)
    record_property(COUNTS, {"of": "torture, operations", "how": dict(report.operations)})
    record_property(COUNTS, {"of": "torture, nemeses", "how": dict(report.nemeses)})
    kinds = {
        "rounds": report.rounds,
        "flow runs left open": report.open_runs,
        "violations": len(report.violations),
        "operations in the longest history": report.longest,
    }
    record_property(COUNTS, {"of": "torture", "how": kinds})
    if report.violations or "TORTURE_DIR" in os.environ:
        kept = Path(os.environ.get("TORTURE_DIR") or tempfile.mkdtemp(prefix="moorage-torture-"))
        shutil.copytree(
            place, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("engine", "commands", "image.tar")
        )
    if report.violations:
        wrong = "\n\n".join(report.violations)
        pytest.fail(f"seed {report.seed}; history and timeline: {kept}\n\n{wrong}", pytrace=False)


@pytest.mark.engine
def test_a_few_verbs_that_are_killed(tmp_path, docker_client, tiny_image, wanted_port, stack_prefix, record_property):
    """The whole machinery in a few seconds, on the machine's engine: no worker, and only verbs are killed."""
    home = tmp_path / "home"
    stacks = (f"{stack_prefix}-a", f"{stack_prefix}-b")
    own = environment(home, MOORAGE_PORT_RANGE=ports_of(0), PREFECT_HOME=str(tmp_path / "prefect"))
    arena = Arena(tmp_path, stacks, tiny_image, wanted_port, None, own)
    arena.open()
    try:
        report = Game(arena, seed()).play(4.0, clients=2)
    finally:
        arena.close()
    told(report, tmp_path, record_property)
    assert sum(report.operations.values()) > 0


@pytest.mark.engine
@pytest.mark.exhaustive
@pytest.mark.timeout(TORTURE_S + SETTLING_S)
def test_torture(place: Path, record_property: object) -> None:
    """For root: an engine of its own, which is killed too, a hub, small disks that are filled."""
    told(tortured(place, seed(), TORTURE_S), place, record_property)


PLANTED = ("down takes volumes unasked", "who does not get the lock goes on without")
"""Faults of which one is in all commands of a torture, by their names among those of the simulator: it was seen to find
these. What a recovery or an undo does wrong, the worker's recoveries may mend before it is seen."""


@pytest.mark.engine
@pytest.mark.exhaustive
@pytest.mark.timeout(PLANTED_S + SETTLING_S)
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(
    fault: str, place: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setenv(PLANTED_VARIABLE, fault)
    report = tortured(place, PLANTED_SEED, PLANTED_S)
    record_property(COUNTS, {"of": f"torture with a planted fault, {fault}", "how": {"rounds": report.rounds}})
    assert report.violations
    assert not any("broke off" in one for one in report.violations), report.violations
    record_property(NOTES, {"of": f"torture, {fault}", "lines": [report.violations[0].partition("\n")[0][:100]]})


@pytest.fixture
def place(docker_client: docker.DockerClient, tiny_image: str) -> Iterator[Path]:
    """With the image that the stacks need; its name is short: a unix socket's path may have 107 characters."""
    made = Path(tempfile.mkdtemp(prefix="torture-"))
    (made / "image").write_text(tiny_image)
    (made / "image.tar").write_bytes(b"".join(docker_client.images.get(tiny_image).save(named=True)))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def tortured(place: Path, seed: int, seconds: float) -> Report:
    """A torture with an engine of its own."""
    command, limit_s = inside(place, seed, seconds), seconds + SETTLING_S
    with (place / "output").open("wb") as output:
        subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False, timeout=limit_s)
    file = place / "report.json"
    assert file.exists(), (place / "output").read_text()[-5000:]
    found = json.loads(file.read_text())
    counted = {key: Counter(found.pop(key)) for key in ("operations", "nemeses")}
    return Report(**found, **counted)
