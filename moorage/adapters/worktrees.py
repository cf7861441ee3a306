"""`git worktree`, by git itself: argument lists, never a shell, never a question."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from moorage.errors import DefinitionError
from moorage.model.base import Frozen

_TIMEOUT_S = 120.0
_LONGEST = 200
_BRANCHES = "refs/heads/"


class Worktree(Frozen):
    """One working tree of a repository."""

    path: Path
    branch: str | None = None
    """None: its HEAD is detached, or the repository is bare."""
    main: bool = False
    """True: the first one, which git never removes."""
    bare: bool = False
    locked: bool = False


def top_of(directory: Path) -> Path:
    """The top directory of the working tree that a directory is in. Raises DefinitionError."""
    done = _git(directory, "rev-parse", "--show-toplevel")
    if done.returncode or not done.stdout.strip():
        message = f"{directory}: no git working tree"
        raise DefinitionError(message, hint="Go into one, or name it with --project-directory.", path=str(directory))
    return Path(done.stdout.rstrip("\n"))


def checked_branch(directory: Path, name: str) -> str:
    """The name itself, if git takes it for that of a branch. Raises DefinitionError."""
    # `@{-1}` and the like are no names but questions; git would answer them.
    usual = name.isprintable() and len(name.encode(errors="replace")) <= _LONGEST
    valid = usual and not name.startswith("-") and "@{" not in name and name not in ("HEAD", "@")
    if not valid or _git(directory, "check-ref-format", "--branch", name).returncode:
        message = f"{name[:80]!r} is not the name of a branch"
        raise DefinitionError(message, hint="`git help check-ref-format` says what is.", branch=name[:80])
    return name


def listed(directory: Path) -> tuple[Worktree, ...]:
    """The working trees of a repository, the main one first. Raises DefinitionError."""
    done, end = _git(directory, "worktree", "list", "--porcelain", "-z"), "\0"
    if done.returncode:  # git before 2.36 has no -z
        done, end = _git(directory, "worktree", "list", "--porcelain"), "\n"
    if done.returncode:
        raise _failed(done, f"{directory}: its worktrees cannot be listed")
    entries = [entry.split(end) for entry in done.stdout.split(end * 2) if entry.strip(end)]
    return tuple(_worktree(entry, main=number == 0) for number, entry in enumerate(entries))


def _worktree(lines: list[str], *, main: bool) -> Worktree:
    facts = dict(line.partition(" ")[::2] for line in lines if line)
    branch = facts.get("branch")
    return Worktree(
        path=Path(facts["worktree"]),
        branch=branch.removeprefix(_BRANCHES) if branch else None,
        main=main,
        bare="bare" in facts,
        locked="locked" in facts,
    )


def add(directory: Path, path: Path, branch: str, start: str | None) -> bool:
    """Make a working tree of a branch; True: the branch was made too. `start` None: HEAD. Raises DefinitionError."""
    known = _git(directory, "show-ref", "--verify", "--quiet", f"{_BRANCHES}{branch}").returncode == 0
    if known and start:
        message = f"branch {branch} is there already"
        raise DefinitionError(message, hint="Leave --from away, or name another branch.", branch=branch)
    new = not known and (start is not None or not _on_remote(directory, branch))
    options = ["-b", branch, "--", str(path), start or "HEAD"] if new else ["--", str(path), branch]
    if start and start.startswith("-"):
        raise DefinitionError(f"{start[:80]!r} is not a commit", hint="Name a branch, a tag or a commit.")
    done = _git(directory, "worktree", "add", "--quiet", *options)
    if done.returncode:
        raise _failed(done, f"{path}: the worktree cannot be made")
    return new


def _on_remote(directory: Path, branch: str) -> bool:
    """True: exactly one remote has it, so that git makes a branch which follows it."""
    found = _git(directory, "for-each-ref", "--format=%(refname)", f"refs/remotes/*/{branch}")
    return len(found.stdout.split()) == 1


def changes(path: Path) -> tuple[str, ...]:
    """What has been changed or added in a working tree and is in no commit. Raises DefinitionError."""
    done = _git(path, "status", "--porcelain", "-z", "--untracked-files=normal")
    if done.returncode:
        raise _failed(done, f"{path}: it cannot be looked at")
    return tuple(entry for entry in done.stdout.split("\0") if entry)


def remove(directory: Path, path: Path, *, force: bool) -> None:
    """Remove a working tree; its branch stays. Raises DefinitionError."""
    done = _git(directory, "worktree", "remove", *(["--force"] if force else []), "--", str(path))
    if done.returncode:
        raise _failed(done, f"{path}: the worktree cannot be removed")


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    foreign = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"}
    own = {key: value for key, value in os.environ.items() if key not in foreign}
    try:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            env={**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise DefinitionError("there is no `git` on PATH", hint="Install git.") from None
    except subprocess.TimeoutExpired:
        raise DefinitionError(f"git {arguments[0]} took more than {_TIMEOUT_S:g} s", hint="A hook of git?") from None
    except ValueError:
        raise DefinitionError(f"{str(directory)!r}: no directory has such a name") from None


def _failed(done: subprocess.CompletedProcess[str], what: str) -> DefinitionError:
    words = [line.removeprefix("fatal: ") for line in done.stderr.strip().splitlines()]
    return DefinitionError(f"{what}: {words[-1] if words else f'exit code {done.returncode}'}")
