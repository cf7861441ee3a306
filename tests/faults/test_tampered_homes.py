"""Registries and files that somebody has tampered with: each verb ends as documented, and the other stack goes on.

What each form spoils is in `tampered.py`. Two stacks are on record, written by the real functions; nothing of them is
on the engine, which is asked all the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.files import LocalFiles
from moorage.adapters.registry.store import SqliteStore
from moorage.errors import MoorageError
from moorage.model.definition import Source
from moorage.testing import FakeMachine, fake_world
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from tests.counts import COUNTS
from tests.faults.tampered import FILES, ROWS, WHOLE

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.usefixtures("engine_answers")]

ROOT = Path(__file__).resolve().parents[2]
CODES = {0, 1, 2, 3, 4, 5, 6, 7}
"""Exit codes of README without a hub and without a Ctrl-C; 1 is the answer of `health` to a stack that is not well."""
MOST_MEMORY, MOST_CPU_S = 300 << 20, 30
READS = ("ls", "ls --json", "ports ls --all", "ports stats --json", "ports why 8000", "sweep --dry-run", "sweep --json")
OF_ONE = ("status", "status --json", "health", "history", "history --runs", "timeline", "logs --failed", "down")
IN_CI = (
    "a stack: of a newer version",
    "a lease: port 'http'",
    "a run: unfinished, an unknown operation",
    "a run: a snapshot that would remove a file",
    "a generation's file: a pipe",
    "the registry: pages of noise",
)


def forms(of: dict[str, Any]) -> list[Any]:
    return [pytest.param(one, marks=() if one in IN_CI else pytest.mark.exhaustive, id=one) for one in of]


@pytest.fixture(scope="module")
def names() -> tuple[str, str]:
    return (f"tampered-{os.getpid()}-shop", f"tampered-{os.getpid()}-blog")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, names: tuple[str, str]) -> Path:
    """A home with two stacks, each with a generation, a lease, runs, timings and a report of a failure."""
    place = tmp_path_factory.mktemp("tampered")
    home = place / "home"
    machine = FakeMachine()
    machine.add_image("app:1", ["sleep", "600"])
    machine.add_image("fails:1", ["sh", "-c", "echo no; exit 3"])
    with closing(SqliteStore(home / "hub.db")) as store:
        world: Any = fake_world(machine, store, LocalFiles(home))  # type: ignore[arg-type]
        for name, port in zip(names, (18_431, 18_432), strict=True):
            (place / name).mkdir()
            for image in ("app:1", "fails:1"):
                web = {"image": image, "ports": [f"{port}:80"]}
                (place / name / "compose.yaml").write_text(json.dumps({"name": name, "services": {"web": web}}))
                with suppress(MoorageError):
                    asyncio.run(up(Context(world), UpRequest(source=Source(directory=place / name))))
            assert store.generations(name)
    (home / "names").write_text(" ".join(names))
    assert list(home.glob("failures/*.json"))
    return home


def ended(home: Path, names: tuple[str, str]) -> tuple[dict[str, dict[str, Any]], float, int]:
    """How each verb ended, by its line with `shop` and `blog` for the names; CPU in seconds, memory in bytes."""
    called = {"shop": names[0], "blog": names[1]}
    lines = [*READS, *(f"{verb} --name {name}" for name in called for verb in OF_ONE), "ls"]
    real = [[called.get(word, word) for word in line.split()] for line in lines]
    environment = {**os.environ, "MOORAGE_HOME": str(home), "MOORAGE_SWEEP_AGAIN_S": "0", "PREFECT_API_URL": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.verbs_driver"],
        input=json.dumps(real),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return dict(zip(lines, answer["ended"], strict=True)), answer["cpu_s"], answer["memory"]


def copied(untouched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untouched, tmp_path / "home"))


@pytest.fixture(scope="module")
def usual(untouched: Path, names: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How each verb ends on a home with which nobody has tampered."""
    found, _, _ = ended(copied(untouched, tmp_path_factory.mktemp("usual")), names)
    assert not [one for one in found.values() if one["traceback"]], found
    return {line: one["code"] for line, one in found.items()}


def assert_as_documented(found: dict[str, dict[str, Any]], cpu_s: float, memory: int) -> None:
    for line, one in found.items():
        assert not one["traceback"], f"{line}: {one['traceback']}"
        assert "Traceback" not in one["out"] + one["err"], line
        assert "\x1b[2J" not in one["out"] + one["err"], f"{line}: a control sequence of somebody else's"
        assert one["code"] in CODES - (set() if line.startswith("health") else {1}), one
        assert one["code"] == 0 or "error: " in one["err"] or "FAILED" in one["out"] or one["out"].strip(), one
        if "--json" in line and one["code"] == 0:
            json.loads(one["out"])
    assert memory <= MOST_MEMORY
    assert cpu_s <= MOST_CPU_S


def outside(home: Path) -> list[str]:
    """All that is beside the home and in the projects."""
    return sorted(str(one) for one in home.parent.rglob("*") if home not in one.parents)


@pytest.mark.parametrize("form", [*forms(ROWS), *forms(FILES)])
def test_what_one_stack_has_lost_no_other_notices(
    form: str,
    untouched: Path,
    usual: dict[str, int],
    names: tuple[str, str],
    tmp_path: Path,
    record_property: Any,
) -> None:
    home = copied(untouched, tmp_path)
    (ROWS | FILES)[form](home)
    before = outside(home), outside(untouched)
    found, cpu_s, memory = ended(home, names)
    assert_as_documented(found, cpu_s, memory)
    for line, one in found.items():
        # `sweep` says what it could not read by 6, `ls` and other verbs that read by 0 and a note.
        expected = {0, 6} if line.startswith("sweep") else {usual[line]}
        assert "shop" in line or one["code"] in expected, one
    assert names[1] in found["ls"]["out"], "the other one is listed"
    assert (outside(home), outside(untouched)) == before, "nothing beside the home was touched"
    assert Path("/etc/hostname").exists()
    record_property(COUNTS, {"of": "tampered registries", "how": {"as documented": 1}})


@pytest.mark.parametrize("form", forms(WHOLE))
def test_a_registry_that_is_none_is_said(
    form: str, untouched: Path, names: tuple[str, str], tmp_path: Path, record_property: Any
) -> None:
    home = copied(untouched, tmp_path)
    WHOLE[form](home)
    before = outside(home), outside(untouched)
    assert_as_documented(*ended(home, names))
    assert (outside(home), outside(untouched)) == before
    record_property(COUNTS, {"of": "tampered registries", "how": {"as documented": 1}})


def test_there_are_sixty_of_them() -> None:
    assert len(ROWS) + len(FILES) + len(WHOLE) >= 60
    assert set(IN_CI) <= {*ROWS, *FILES, *WHOLE}
