"""Which repository and branch a directory belongs to, read from git's own files: no process is started.

Formats: gitrepository-layout(5) (`gitdir:` files, `commondir`, `HEAD`, `rebase-merge/head-name`). git itself is asked
only for what it keeps elsewhere (the reftable format).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

_SHORT_SHA = 7
_GIT_TIMEOUT_S = 5.0
_BRANCHES = "refs/heads/"


class _Checkout(NamedTuple):
    """A working tree: its top directory, its own git directory and the one it shares with its repository."""

    top: Path
    git_dir: Path
    common: Path

    @property
    def linked(self) -> bool:
        """True: made by `git worktree add`."""
        return self.git_dir != self.common


def worktree_of(directory: Path) -> tuple[str, str] | None:
    """(repository, branch) of a linked git worktree. None: a main checkout, a submodule, no or a broken repository."""
    checkout = _checkout(directory)
    return _described(checkout) if checkout and checkout.linked else None


def repository_and_branch(directory: Path) -> tuple[str, str] | None:
    """(repository, branch) of any checkout; a detached HEAD: the start of the commit's id. None: none, or broken."""
    checkout = _checkout(directory)
    return _described(checkout) if checkout else None


def _checkout(directory: Path) -> _Checkout | None:
    try:
        resolved = directory.resolve()
        for top in (resolved, *resolved.parents):
            git_dir = _git_dir(top / ".git")
            if git_dir is not None:
                return _Checkout(top, git_dir, _common(git_dir))
    except (OSError, RuntimeError, ValueError):
        return None  # a loop of links, a folder we may not enter, a NUL in a `.git` file: no name from git, no crash
    return None


def _git_dir(dot_git: Path) -> Path | None:
    """The git directory behind a `.git`. None: there is no `.git`. Raises ValueError for one that leads nowhere."""
    if dot_git.is_dir():
        # An empty `.git` folder is no repository to git either; it goes on looking upward.
        return dot_git if (dot_git / "HEAD").is_file() else None
    if not dot_git.is_file():
        return None
    key, _, target = _first_line(dot_git).partition(":")
    git_dir = (dot_git.parent / target.strip()).resolve()
    if key != "gitdir" or not target.strip() or not (git_dir / "HEAD").is_file():
        raise ValueError(f"{dot_git} does not lead to a git directory")
    return git_dir


def _common(git_dir: Path) -> Path:
    pointer = git_dir / "commondir"
    return (git_dir / _first_line(pointer)).resolve() if pointer.is_file() else git_dir


def _described(checkout: _Checkout) -> tuple[str, str] | None:
    try:
        branch = _branch(checkout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return (_repository(checkout), branch) if branch else None


def _repository(checkout: _Checkout) -> str:
    """The name of the repository: of its main checkout's directory, or of the bare repository without `.git`."""
    if not checkout.linked:
        return checkout.top.name
    common = checkout.common
    # `shop/.git` and the `shop/.bare` of a popular layout are both named by their folder, `shop.git` by itself.
    return common.parent.name if common.name.startswith(".") else common.name.removesuffix(".git")


def _branch(checkout: _Checkout) -> str:
    head = _first_line(checkout.git_dir / "HEAD")
    if not head.startswith("ref:"):
        # A rebase detaches HEAD for a while; the stack keeps its name meanwhile.
        return _branch_in_rebase(checkout.git_dir) or head[:_SHORT_SHA]
    reference = head.removeprefix("ref:").strip()
    if reference == f"{_BRANCHES}.invalid":
        return _ask_git(checkout.top)
    return reference.removeprefix(_BRANCHES)


def _branch_in_rebase(git_dir: Path) -> str | None:
    for file in (git_dir / "rebase-merge" / "head-name", git_dir / "rebase-apply" / "head-name"):
        if file.is_file():
            reference = _first_line(file)
            return reference.removeprefix(_BRANCHES) if reference.startswith(_BRANCHES) else None
    return None


def _ask_git(top: Path) -> str:
    for question in (["symbolic-ref", "--short", "--quiet", "HEAD"], ["rev-parse", "--short", "HEAD"]):
        command = ["git", "-C", str(top), *question]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    return ""


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8", errors="surrogateescape") as opened:
        return opened.readline(4096).strip()
