"""`git worktree`, with git itself: names of branches, what is listed, what would be lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from moorage.adapters import git
from moorage.cli import worktree_removal
from moorage.errors import DefinitionError
from moorage.testing import MemoryFiles
from tests.unit.test_git import run_git


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    run_git(folder, "init", "-q")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.mark.parametrize("name", ["feature/x", "v1.2", "ünï", "a-b_c", "1", "x;rm", "$(id)", "a'b"])
def test_names_of_branches(shop, name):
    assert git.checked_branch(shop, name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-b",
        "--force",
        "a..b",
        "..",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "/a",
        "a/",
        "a.lock",
        "@",
        "@{-1}",
        "a@{1}",
        "HEAD",
        "a\nb",
        "a\x00b",
        "a\x1b[31m",
        "a\\b",
        ".a",
        "a/.b",
        "a?",
        "a*",
        "a[",
        "x" * 5000,
    ],
)
def test_what_is_no_name(shop, name):
    with pytest.raises(DefinitionError, match="not a valid branch name"):
        git.checked_branch(shop, name)


def test_made_listed_and_removed(shop, tmp_path):
    odd = tmp_path / "od d\nplace"
    assert git.add(shop, tmp_path / "new", "feature/x", None) is True
    run_git(shop, "branch", "old")
    assert git.add(shop, odd, "old", None) is False
    found = git.listed(shop)
    assert [(tree.path, tree.branch, tree.main) for tree in found] == [
        (shop, "main", True),
        (tmp_path / "new", "feature/x", False),
        (odd, "old", False),
    ]
    assert git.top_of(odd) == odd
    git.remove(shop, odd, force=False)
    assert not odd.exists()
    assert len(git.listed(shop)) == 2


def test_a_branch_begins_where_it_is_told_to(shop, tmp_path):
    first = run_git(shop, "rev-parse", "HEAD")
    run_git(shop, "commit", "-q", "--allow-empty", "-m", "second")
    git.add(shop, tmp_path / "x", "x", "HEAD~1")
    assert run_git(tmp_path / "x", "rev-parse", "HEAD") == first
    with pytest.raises(DefinitionError, match="already exists"):
        git.add(shop, tmp_path / "y", "x", "HEAD~1")
    for start in ("--detach", "no-such-commit"):
        with pytest.raises(DefinitionError):
            git.add(shop, tmp_path / "z", "z", start)
    assert not (tmp_path / "z").exists()


def test_a_branch_of_the_remote_is_followed(shop, tmp_path):
    run_git(tmp_path, "clone", "-q", str(shop), "copy")
    run_git(shop, "branch", "theirs")
    run_git(tmp_path / "copy", "fetch", "-q")
    assert git.add(tmp_path / "copy", tmp_path / "theirs", "theirs", None) is False
    assert run_git(tmp_path / "theirs", "rev-parse", "--abbrev-ref", "@{upstream}") == "origin/theirs"


def test_a_branch_that_is_checked_out_elsewhere(shop, tmp_path):
    with pytest.raises(DefinitionError, match="main"):
        git.add(shop, tmp_path / "x", "main", None)


def test_changes_are_not_lost(shop, tmp_path):
    tree = tmp_path / "x"
    git.add(shop, tree, "x", None)
    assert git.changes(tree) == ()
    (tree / "new file").write_text("precious")
    assert git.changes(tree) == ("?? new file",)
    with pytest.raises(DefinitionError, match="modified or untracked"):
        git.remove(shop, tree, force=False)
    assert (tree / "new file").exists()
    git.remove(shop, tree, force=True)
    assert not tree.exists()


def test_no_repository(tmp_path):
    with pytest.raises(DefinitionError, match="not in a git working tree"):
        git.top_of(tmp_path)
    with pytest.raises(DefinitionError):
        git.listed(tmp_path)


def test_the_environment_of_a_hook_does_not_lead_elsewhere(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git.top_of(shop) == shop


def test_only_a_checkout_runs_what_the_configuration_names(shop, tmp_path):
    """A question is none of the hooks' business; a new working tree is, as with git itself."""
    ran = tmp_path / "ran"
    ran.mkdir()
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "post-index-change", "fsmonitor"):
        (hooks / hook).write_text(f"#!/bin/sh\nmkdir -p {ran}/{hook}\n")
        (hooks / hook).chmod(0o755)
    run_git(shop, "config", "core.hooksPath", str(hooks))
    run_git(shop, "config", "core.fsmonitor", str(hooks / "fsmonitor"))
    (shop / "new").touch()
    assert git.top_of(shop) == shop
    assert git.changes(shop) == ("?? new",)
    assert [tree.path for tree in git.listed(shop)] == [shop]
    assert git.checked_branch(shop, "side") == "side"
    assert list(ran.iterdir()) == []
    git.add(shop, tmp_path / "side", "side", None)
    assert (ran / "post-checkout").is_dir()
    for mark in ran.iterdir():
        mark.rmdir()
    git.remove(shop, tmp_path / "side", force=False)
    assert list(ran.iterdir()) == []


def test_ctrl_c_leaves_no_working_tree_begun(shop, tmp_path):
    """git, asked to end, removes what it has begun; killed, it leaves a locked working tree that nobody can remove."""
    started = tmp_path / "started"
    run_git(shop, "config", "filter.slow.smudge", f"touch '{started}'; exec sleep 60")
    (shop / ".gitattributes").write_text("a filter=slow\n")
    (shop / "a").write_text("a\n")
    run_git(shop, "add", ".")
    run_git(shop, "commit", "-q", "-m", "second")
    program = (
        "import signal, sys; from pathlib import Path; from moorage.adapters import git;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "git.add(Path(sys.argv[1]), Path(sys.argv[2]), 'new', None)"
    )
    adding = subprocess.Popen([sys.executable, "-c", program, str(shop), str(tmp_path / "new")], stderr=subprocess.PIPE)
    while not started.exists():
        assert adding.poll() is None
        time.sleep(0.01)
    adding.send_signal(2)
    assert b"KeyboardInterrupt" in adding.communicate()[1]
    assert [tree.path for tree in git.listed(shop)] == [shop]
    assert not (tmp_path / "new").exists()


def cut_off(shop: Path, path: Path, monkeypatch: pytest.MonkeyPatch, removed: Callable[[], None]) -> SimpleNamespace:
    """A working tree of the branch `other`, its removal begun and cut off; the world that has that on record."""
    (shop / "a").write_text("a\n")
    run_git(shop, "add", ".")
    run_git(shop, "commit", "-q", "-m", "second")
    git.add(shop, path, "other", None)
    tree = next(one for one in git.listed(shop) if not one.main)
    world = SimpleNamespace(files=MemoryFiles())

    def cut(*_arguments: object, **_options: object) -> None:
        removed()
        raise KeyboardInterrupt

    monkeypatch.setattr(git, "remove", cut)
    with pytest.raises(KeyboardInterrupt):
        worktree_removal.begin(world, shop, tree, (), force=False)
    return world


def test_a_removal_is_found_again_whatever_the_bytes_of_its_path(shop, tmp_path, monkeypatch):
    path = tmp_path / os.fsdecode(b"w\xff")
    world = cut_off(shop, path, monkeypatch, (path / "a").unlink)
    begun = worktree_removal.begun(world, shop, "other")
    assert begun is not None
    assert begun.path == str(path)


def test_work_in_a_working_tree_of_which_nothing_was_removed_is_not_lost(shop, tmp_path, monkeypatch):
    """Ctrl-C came before git had removed anything, and somebody has gone on working there."""
    world = cut_off(shop, tmp_path / "w", monkeypatch, lambda: None)
    (tmp_path / "w" / "new").write_text("work of a day")
    assert worktree_removal.begun(world, shop, "other") is None
    assert not [*world.files.names("worktrees")]
