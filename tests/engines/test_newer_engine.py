"""One engine that is newer than Debian 12's, out of a root of its own, is asked for the verbs that matter most.

`make test-engines` has all verbs and more engines. For root: an engine of its own, whose namespaces end with the test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.counts import COUNTS
from tests.engines import cells, playing
from tests.engines.rows import SHORT, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),  # a busy machine may have to make the root meanwhile
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine out of a root of its own"),
]

NAME = "docker-26.1"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folders of rows are made: what belongs to a row is known by this name."""
    made = Path(tempfile.mkdtemp(prefix="row-", dir="/var/tmp"))
    monkeypatch.setenv(playing.PLACE_VARIABLE, str(made))
    yield made
    shutil.rmtree(made)


def left(place: Path) -> list[str]:
    """What there is of a row: processes in its namespaces, mounts, control groups. Its bridges are in its network."""
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if str(place) in line]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, mounts = (folder / "cmdline").read_bytes(), (folder / "mounts").read_text()
        except OSError:
            continue  # it has ended
        if str(place).encode() in command or str(place) in mounts:
            found.append(f"{folder.name}: {command!r}")
    groups = (group for one in place.glob("engines-*") for group in Path("/sys/fs/cgroup").glob(f"*/{one.name}/*"))
    return found + [str(one) for one in groups]


def becomes(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def test_it_does_what_matters_most(docker_client, tiny_image, place, record_property):
    played = playing.play(row(NAME), SHORT, [tiny_image])
    assert played.engine.startswith("Engine 26.1.")
    found = {verb: cells.cell(played.outcomes[verb], len(tests), None) for verb, tests in SHORT.items()}
    assert set(found.values()) == {cells.WORKS}, f"{found}\n{played.output}"
    counted = {verb: len(outcomes) for verb, outcomes in played.outcomes.items()}
    record_property(COUNTS, {"of": f"tests on {played.engine}", "how": counted})
    assert (left(place), [*place.iterdir()]) == ([], [])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_one_that_is_broken_off(docker_client, tiny_image, place, how):
    command = [sys.executable, "-m", "tests.engines.matrix", "--no-table", NAME]
    with (place / "said").open("wb") as said:
        matrix = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
    assert becomes(lambda: any(place.glob("engines-*/answers")) or matrix.poll() is not None, 600)
    assert matrix.poll() is None, (place / "said").read_text()
    assert left(place), "an engine and its tests"
    matrix.send_signal(how)
    matrix.wait(120)
    assert becomes(lambda: not left(place), 60), left(place)
    if how != signal.SIGKILL:  # nobody is left who could remove its folder
        assert [one.name for one in place.iterdir()] == ["said"]
