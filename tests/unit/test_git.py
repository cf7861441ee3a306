"""Repository and branch, from git's own files. The repositories are made by git itself."""

from __future__ import annotations

import subprocess

import pytest

from moorage.adapters import git
from moorage.adapters.git import repository_and_branch, worktree_of

ask_git = git._ask_git


def run_git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    run_git(folder, "init", "-q")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.fixture
def worktree(shop, tmp_path):
    run_git(shop, "worktree", "add", "-q", "-b", "feature/x", str(tmp_path / "anywhere"))
    return tmp_path / "anywhere"


@pytest.fixture(autouse=True)
def _no_process(monkeypatch):
    def started(*_arguments, **_more):
        raise AssertionError("git was started")

    monkeypatch.setattr(git, "_ask_git", started)


def test_main_checkout(shop):
    assert worktree_of(shop) is None
    assert repository_and_branch(shop) == ("shop", "main")


def test_before_the_first_commit(tmp_path):
    run_git(tmp_path, "init", "-q")
    assert repository_and_branch(tmp_path) == (tmp_path.name, "main")


def test_linked_worktree(worktree):
    assert worktree_of(worktree) == ("shop", "feature/x")
    assert repository_and_branch(worktree) == ("shop", "feature/x")


def test_a_folder_inside_a_worktree(worktree):
    (worktree / "a" / "b").mkdir(parents=True)
    assert worktree_of(worktree / "a" / "b") == ("shop", "feature/x")


def test_detached(shop, worktree):
    run_git(worktree, "checkout", "-q", "--detach")
    assert worktree_of(worktree) == ("shop", run_git(shop, "rev-parse", "HEAD")[:7])


def test_a_rebase_keeps_the_name(worktree):
    folder = next((worktree.parent / "shop" / ".git" / "worktrees").iterdir())
    run_git(worktree, "checkout", "-q", "--detach")
    (folder / "rebase-merge").mkdir()
    (folder / "rebase-merge" / "head-name").write_text("refs/heads/feature/x\n")
    assert worktree_of(worktree) == ("shop", "feature/x")


def test_rebasing_no_branch(worktree):
    folder = next((worktree.parent / "shop" / ".git" / "worktrees").iterdir())
    (folder / "HEAD").write_text("0123456789abcdef\n")
    (folder / "rebase-apply").mkdir()
    (folder / "rebase-apply" / "head-name").write_text("detached HEAD\n")
    assert worktree_of(worktree) == ("shop", "0123456")


def test_worktree_with_relative_paths(worktree):
    target = (worktree / ".git").read_text().removeprefix("gitdir: ").strip()
    (worktree / ".git").write_text(f"gitdir: ../{target.removeprefix(str(worktree.parent))[1:]}\n")
    assert worktree_of(worktree) == ("shop", "feature/x")


@pytest.mark.parametrize(("bare", "name"), [("shop.git", "shop"), ("project/.bare", "project")])
def test_worktree_of_a_bare_repository(shop, tmp_path, bare, name):
    run_git(tmp_path, "clone", "-q", "--bare", str(shop), str(tmp_path / bare))
    run_git(tmp_path / bare, "worktree", "add", "-q", "-b", "fix", str(tmp_path / "fix"))
    assert worktree_of(tmp_path / "fix") == (name, "fix")


def test_a_submodule_is_no_worktree(shop, tmp_path):
    (tmp_path / "outer").mkdir()
    run_git(tmp_path / "outer", "init", "-q")
    run_git(tmp_path / "outer", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(shop), "inner")
    assert worktree_of(tmp_path / "outer" / "inner") is None
    assert repository_and_branch(tmp_path / "outer" / "inner") == ("inner", "main")


def test_no_repository(tmp_path):
    assert worktree_of(tmp_path) is None
    assert repository_and_branch(tmp_path) is None
    assert repository_and_branch(tmp_path / "does" / "not" / "exist") is None


def test_an_empty_git_folder_is_looked_past(shop):
    (shop / "inner" / ".git").mkdir(parents=True)
    assert repository_and_branch(shop / "inner") == ("shop", "main")


@pytest.mark.parametrize(
    "content",
    [b"", b"gitdir:", b"gitdir: /nowhere", b"gitdir: \0", b"\xff\xfe\x00rubbish", b"gitdir: .", b"x" * 100_000],
    ids=["empty", "no target", "no such target", "nul", "binary", "itself", "long"],
)
def test_a_broken_git_file_is_no_repository(tmp_path, content):
    (tmp_path / ".git").write_bytes(content)
    assert worktree_of(tmp_path) is None
    assert repository_and_branch(tmp_path) is None


def test_a_pruned_worktree_is_no_repository(shop, worktree):
    for file in sorted((shop / ".git" / "worktrees").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert worktree_of(worktree) is None


@pytest.mark.parametrize("head", ["", "ref:", "\0\0"])
def test_a_broken_head(shop, head):
    (shop / ".git" / "HEAD").write_text(head)
    assert repository_and_branch(shop) in {None, ("shop", head)}


def test_the_reftable_format_is_asked_of_git(shop, monkeypatch):
    (shop / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    monkeypatch.setattr(git, "_ask_git", lambda top: f"asked in {top.name}")
    assert repository_and_branch(shop) == ("shop", "asked in shop")


def test_git_answers(shop):
    assert ask_git(shop) == "main"
    run_git(shop, "checkout", "-q", "--detach")
    assert ask_git(shop) == run_git(shop, "rev-parse", "--short", "HEAD")
