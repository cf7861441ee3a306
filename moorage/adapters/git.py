"""git: the repository and branch that a directory belongs to, and `git worktree`.

Repository and branch are read from git's own files, without starting a process. `git worktree` runs git itself, always
with argument lists, never with a shell or a prompt. `.git/config` can name programs for git to run. A question runs
none of them; `git worktree add` does as always: hooks and filters (LFS) belong to a checkout.

Formats: gitrepository-layout(5) (`gitdir:` files, `commondir`, `HEAD`, `rebase-merge/head-name`). git is run only for
data that it stores elsewhere (the reftable format).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from moorage import bounded
from moorage.adapters.patience import more_s_than
from moorage.errors import DefinitionError
from moorage.model.base import Frozen
from moorage.rules.environments import for_programs

_SHORT_SHA = 7
_GIT_TIMEOUT_S = 5.0
_BRANCHES = "refs/heads/"
_NO_PROGRAMS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")
_NO_NETWORK = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""A partial clone would fetch what is missing, over whatever its configuration says."""


class _Checkout(NamedTuple):
    """A working tree: its top directory, its own git directory and the one it shares with its repository."""

    top: Path
    git_dir: Path
    common: Path

    @property
    def linked(self) -> bool:
        """True if it was created by `git worktree add`."""
        return self.git_dir != self.common


def worktree_of(directory: Path) -> tuple[str, str] | None:
    """(repository, branch) of a linked git worktree. None: a main checkout, a submodule, no or a broken repository."""
    checkout = _checkout(directory)
    return _described(checkout) if checkout and checkout.linked else None


def repository_and_branch(directory: Path) -> tuple[str, str] | None:
    """(repository, branch) of any checkout; for a detached HEAD a short commit id. None: no or a broken repository."""
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
        return None  # a loop of links, a forbidden folder, a NUL in a `.git` file: no name from git, but no crash
    return None


def _git_dir(dot_git: Path) -> Path | None:
    """The git directory that a `.git` leads to. None: there is no `.git`. Raises ValueError if it leads nowhere."""
    if dot_git.is_dir():
        # git does not treat an empty `.git` folder as a repository either; it goes on looking upward.
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
    """Name of the repository: that of its main checkout's directory, or of the bare repository without `.git`."""
    if not checkout.linked:
        return checkout.top.name
    common = checkout.common
    # `shop/.git`, and `shop/.bare` of a popular layout, are named after their folder, `shop.git` after itself.
    return common.parent.name if common.name.startswith(".") else common.name.removesuffix(".git")


def _branch(checkout: _Checkout) -> str:
    head = _first_line(checkout.git_dir / "HEAD")
    if not head.startswith("ref:"):
        # A rebase detaches HEAD for a while; the stack must keep its name meanwhile.
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
        command = ["git", *_NO_PROGRAMS, "-C", str(top), *question]
        more_s = more_s_than(_GIT_TIMEOUT_S)
        answer = bounded.run(command, {**_environment(), **_NO_NETWORK}, _GIT_TIMEOUT_S, more_s=more_s)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    return ""


def _first_line(file: Path) -> str:
    beginning, _ = bounded.beginning_of(file, 4096)
    return os.fsdecode(beginning.partition(b"\n")[0]).strip()


_TIMEOUT_S = 120.0


_LONGEST = 200


class Worktree(Frozen):
    """One working tree of a repository."""

    path: Path
    branch: str | None = None
    """None: its HEAD is detached, or the repository is bare."""
    main: bool = False
    """True for the first one, which git never removes."""
    bare: bool = False
    locked: bool = False


def top_of(directory: Path) -> Path:
    """The top directory of the working tree that a directory is in. Raises DefinitionError."""
    done = _git(directory, "rev-parse", "--show-toplevel")
    if done.returncode or not done.stdout.strip():
        message = f"{directory} is not in a git working tree"
        raise DefinitionError(message, hint="Change to one, or name it with --project-directory.", path=str(directory))
    return Path(done.stdout.rstrip("\n"))


def checked_branch(directory: Path, name: str) -> str:
    """The name itself, if git accepts it as a branch name. Raises DefinitionError."""
    # `@{-1}` and the like are not names but expressions, which git would expand.
    usual = name.isprintable() and len(name.encode(errors="replace")) <= _LONGEST
    valid = usual and not name.startswith("-") and "@{" not in name and name not in ("HEAD", "@")
    if not valid or _git(directory, "check-ref-format", "--branch", name).returncode:
        message = f"{name[:80]!r} is not a valid branch name"
        raise DefinitionError(message, hint="`git help check-ref-format` lists the rules.", branch=name[:80])
    return name


def listed(directory: Path) -> tuple[Worktree, ...]:
    """The working trees of a repository, the main one first. Raises DefinitionError."""
    done, end = _git(directory, "worktree", "list", "--porcelain", "-z"), "\0"
    if done.returncode:  # git before 2.36 does not have -z
        done, end = _git(directory, "worktree", "list", "--porcelain"), "\n"
    if done.returncode:
        raise _failed(done, f"{directory}: its worktrees cannot be listed")
    entries = [entry.split(end) for entry in done.stdout.split(end * 2) if entry.strip(end)]
    trees = (_worktree(entry, main=number == 0) for number, entry in enumerate(entries))
    return tuple(tree for tree in trees if tree)


def _worktree(lines: list[str], *, main: bool) -> Worktree | None:
    """None: it has no path, whatever it is."""
    facts = dict(line.partition(" ")[::2] for line in lines if line)
    if "worktree" not in facts:
        return None
    branch = facts.get("branch")
    return Worktree(
        path=Path(facts["worktree"]),
        branch=branch.removeprefix(_BRANCHES) if branch else None,
        main=main,
        bare="bare" in facts,
        locked="locked" in facts,
    )


def add(directory: Path, path: Path, branch: str, start: str | None) -> bool:
    """Create a working tree of a branch; True: the branch is new. `start` None: HEAD. Raises DefinitionError."""
    known = _git(directory, "show-ref", "--verify", "--quiet", f"{_BRANCHES}{branch}").returncode == 0
    if known and start:
        message = f"branch {branch} already exists"
        raise DefinitionError(message, hint="Leave out --from, or name another branch.", branch=branch)
    new = not known and (start is not None or not _on_remote(directory, branch))
    options = ["-b", branch, "--", str(path), start or "HEAD"] if new else ["--", str(path), branch]
    if start and start.startswith("-"):
        raise DefinitionError(f"{start[:80]!r} is not a commit", hint="Name a branch, a tag or a commit.")
    done = _run(directory, "worktree", "add", "--quiet", *options)
    if done.returncode:
        raise _failed(done, f"{path}: the worktree cannot be created")
    return new


def _on_remote(directory: Path, branch: str) -> bool:
    """True if exactly one remote has the branch, so that git creates a branch that tracks it."""
    found = _git(directory, "for-each-ref", "--format=%(refname)", f"refs/remotes/*/{branch}")
    return len(found.stdout.split()) == 1


def changes(path: Path) -> tuple[str, ...]:
    """Uncommitted changes and new files in a working tree. Raises DefinitionError."""
    done = _git(path, "status", "--porcelain", "-z", "--untracked-files=normal")
    if done.returncode:
        raise _failed(done, f"{path}: `git status` failed")
    return tuple(entry for entry in done.stdout.split("\0") if entry)


def remove(directory: Path, path: Path, *, force: bool) -> None:
    """Remove a working tree; its branch stays. Raises DefinitionError."""
    done = _git(directory, "worktree", "remove", *(["--force"] if force else []), "--", str(path))
    if done.returncode:
        raise _failed(done, f"{path}: the worktree cannot be removed")


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """git, without the programs that the repository's configuration names."""
    return _run(directory, *arguments, options=_NO_PROGRAMS, environment=_NO_NETWORK)


def _run(
    directory: Path,
    *arguments: str,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    try:
        command = ["git", *options, "-C", str(directory), *arguments]
        return bounded.run(command, {**_environment(), **environment}, _TIMEOUT_S, more_s=more_s_than(_TIMEOUT_S))
    except FileNotFoundError:
        raise DefinitionError("there is no `git` on PATH", hint="Install git.") from None
    except subprocess.TimeoutExpired:
        raise DefinitionError(
            f"git {arguments[0]} took more than {_TIMEOUT_S:g} s", hint="Does a git hook hang?"
        ) from None
    except bounded.TooMuchError as error:
        message = f"git {arguments[0]}: {error.strerror}"
        raise DefinitionError(message, hint="Does .gitignore name what is not to be looked at?") from None
    except ValueError:
        raise DefinitionError(f"{str(directory)!r} is not a valid directory name") from None


def _environment() -> dict[str, str]:
    """Our environment, without what a git hook that called us would send git to: another repository."""
    foreign = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"}
    own = {key: value for key, value in for_programs(os.environ).items() if key not in foreign}
    return {**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _failed(done: subprocess.CompletedProcess[str], what: str) -> DefinitionError:
    words = [line.removeprefix("fatal: ") for line in done.stderr.strip().splitlines()]
    return DefinitionError(f"{what}: {words[-1] if words else f'exit code {done.returncode}'}")
