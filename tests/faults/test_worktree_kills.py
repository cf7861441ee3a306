"""`worktree remove` is killed, at any moment and git with it in its midst; the next tries end it."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters import git
from moorage.model.state import StackRecord
from moorage.settings import Settings
from moorage.world import open_world
from tests.counts import COUNTS
from tests.unit.test_git import run_git

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

BRANCH = "feature/x"
_MOMENTS = ("subprocess.Popen", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree")


def child(home: str, project: str, at: int, count: Any) -> None:
    """Remove the worktree in this process, which is killed before its `at`-th effect; 0: it lives."""
    os.environ.update(MOORAGE_HOME=home, MOORAGE_STOP_GRACE_S="0")
    os.chdir(project)
    from moorage.cli import worktree

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _MOMENTS and not str(arguments[0]).endswith(("-wal", "-shm")):
            count.value += 1
            if count.value == at:
                if event == "subprocess.Popen" and "remove" in arguments[1]:
                    _half(Path(arguments[1][-1]))
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)
    sys.exit(worktree.remove(BRANCH))


def _half(tree: Path) -> None:
    """What git has done by the time that it is killed with us: it goes through the folder in no order of meaning."""
    for path in sorted([*tree.glob("*"), *tree.glob(".*")])[: random.Random(len(str(tree))).randrange(1, 4)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class Scene:
    """A repository with a worktree whose stack is on record."""

    def __init__(self, folder: Path, name: str) -> None:
        self.home, self.project, self.tree = folder / "home", folder / name, folder / f"{name}-x"
        self.name = f"{name}-x"
        self.project.mkdir(parents=True)
        run_git(self.project, "init", "-q")
        for file in ("compose.yaml", "one", "two"):
            (self.project / file).write_text("services: {}\n")
        run_git(self.project, "add", "-A")
        run_git(self.project, "commit", "-q", "-m", "first")
        git.add(self.project, self.tree, BRANCH, None)
        self.world = open_world(lambda _event: None, Settings(home=self.home))
        record = StackRecord(name=self.name, path=str(self.tree), created_at=datetime.now(UTC))
        self.world.store.save_stack(record)

    def removed(self, at: int) -> tuple[int, int]:
        """(exit code, how many effects it had)."""
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["moorage.cli.worktree", "moorage.cli.without_hub", "moorage.world"])
        count = context.Value("i", 0)
        process = context.Process(target=child, args=(str(self.home), str(self.project), at, count))
        process.start()
        process.join(120)
        code = process.exitcode
        assert code is not None
        return int(code), int(count.value)

    def left(self) -> str:
        """Empty: nothing is left but the branch."""
        trees = [tree.branch for tree in git.listed(self.project) if not tree.main]
        notes = list((self.home / "worktrees").glob("[!.]*"))
        found = [*trees, *notes, *(one.name for one in self.world.store.stacks())]
        there = [str(self.tree)] if self.tree.exists() else []
        return f"left: {[*there, *found]}" if found or there else ""


def pair(folder: Path, name: str, first: int, second: int) -> str:
    """Killed at both, then not. Empty: all is well."""
    scene = Scene(folder / f"{first}-{second}", name)
    try:
        codes: list[int] = []
        for at in (first, second, 0):
            if 0 not in codes:
                codes.append(scene.removed(at)[0])
        return scene.left() or ("" if codes[-1] == 0 else f"ended with {codes}")
    finally:
        scene.world.store.close()


def meets(folder: Path, name: str, pairs: list[tuple[int, int]], record_property: Any) -> None:
    wrong = {one: said for one in pairs if (said := pair(folder, name, *one))}
    assert not wrong, wrong
    record_property(COUNTS, {"of": "pairs of kills, worktree remove", "how": {"survived": len(pairs)}})


def last_moment(folder: Path, name: str) -> int:
    scene = Scene(folder / "whole", name)
    code, count = scene.removed(0)
    assert (code, scene.left()) == (0, "")
    scene.world.store.close()
    return count


def test_killed_at_some_moments(tmp_path, stack_prefix, record_property):
    last = last_moment(tmp_path, stack_prefix)
    chosen = random.Random(14)
    firsts = range(last - 5, last + 1)
    meets(tmp_path, stack_prefix, [(first, chosen.randrange(1, last)) for first in firsts], record_property)


@pytest.mark.exhaustive
def test_killed_at_every_pair_of_moments(tmp_path, stack_prefix, record_property):
    last = last_moment(tmp_path, stack_prefix)
    every = [(first, second) for first in range(1, last + 1) for second in range(1, last + 1)]
    meets(tmp_path, stack_prefix, every, record_property)


def test_another_worktree_in_its_place_is_not_taken_for_it(tmp_path, stack_prefix):
    """Its removal was cut off, somebody ended that by hand, and made it again: what is in it now is not lost."""
    last = last_moment(tmp_path, stack_prefix)
    scene = Scene(tmp_path / "again", stack_prefix)
    for at in range(1, last + 1):
        scene.removed(at)
        if list((scene.home / "worktrees").glob("[!.]*")):
            break
    shutil.rmtree(scene.tree, ignore_errors=True)
    run_git(scene.project, "worktree", "prune")
    scene.tree.with_name("in the way").mkdir()  # takes the inode that has become free
    git.add(scene.project, scene.tree, BRANCH, None)
    (scene.tree / "unsaved").write_text("precious")
    code, _ = scene.removed(0)
    assert code != 0
    assert (scene.tree / "unsaved").read_text() == "precious"
    scene.world.store.close()
