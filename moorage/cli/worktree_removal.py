"""The removal of a worktree, as one that is cut off is ended by the next try.

git removes a worktree file by file. What is left when that is cut off looks like a worktree with changes, or like none
at all, and git removes neither. So that the removal has begun is written down before the first file goes, in the home.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from moorage import bounded
from moorage.adapters import git
from moorage.adapters.git import Worktree
from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.base import Frozen


class Removal(Frozen):
    """A worktree that is being removed; its stacks are down already."""

    main: str
    """The main checkout of its repository."""
    path: str
    branch: str | None
    """None: its HEAD was detached."""
    identity: tuple[int, int] | None
    """Device and inode of the directory: another one that has the path by now is left alone. None: it was gone."""
    stacks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its file in the home."""
        return f"worktrees/{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}.json"


def begun(world: World, main: Path, wanted: str) -> Removal | None:
    """The removal of a worktree, by its branch or path, that was cut off. None: there is none."""
    for name in world.files.names("worktrees"):
        with suppress(ValueError):
            found = Removal.model_validate(bounded.parsed_json(world.files.read(name) or ""))
            if found.main != str(main) or (wanted != found.branch and str(Path(wanted).absolute()) != found.path):
                continue
            if _identity(Path(found.path)) in (None, found.identity) and not _is_whole(Path(found.path)):
                return found
            world.files.remove(name)  # nothing of it was removed, or there is another one in its place
    return None


def refuse_loss(tree: Worktree, *, force: bool) -> None:
    """Raises DefinitionError if removing the worktree would lose changes, or it is locked."""
    if tree.locked:
        raise DefinitionError(f"{tree.path} is locked", hint="`git worktree unlock` unlocks it.", path=str(tree.path))
    if not force and os.path.isdir(tree.path) and (changed := git.changes(tree.path)):
        message = f"{tree.path} has {len(changed)} uncommitted changes, such as {changed[0][3:][:80]!r}"
        raise DefinitionError(message, hint="Commit them, or discard them with --force.", path=str(tree.path))


def begin(world: World, main: Path, tree: Worktree, stacks: tuple[str, ...], *, force: bool) -> Removal:
    """Write it down and have git remove the worktree. Raises DefinitionError: git does not, or cannot remove all."""
    removal = Removal(
        main=str(main), path=str(tree.path), branch=tree.branch, identity=_identity(tree.path), stacks=stacks
    )
    refuse_loss(tree, force=force)  # again: taking the stacks down took a while
    world.files.write(removal.name, json.dumps(removal.model_dump()))  # in ASCII: a path may not be UTF-8
    try:
        git.remove(main, tree.path, force=force)
    except DefinitionError:
        if _is_whole(tree.path):
            world.files.remove(removal.name)
        raise
    return removal


def finish(removal: Removal) -> None:
    """Remove what is left of the worktree. Raises DefinitionError: not all of it can be removed."""
    main, path = Path(removal.main), Path(removal.path)
    if _identity(path) == removal.identity is not None:
        try:
            shutil.rmtree(path)
        except OSError as error:
            hint = "Remove it yourself, then try again."
            raise DefinitionError(f"{path}: {error.filename}: {error.strerror}", hint=hint, path=str(path)) from None
    if _identity(path) is None and any(tree.path == path for tree in git.listed(main)):
        git.remove(main, path, force=True)


def forget(world: World, removal: Removal) -> None:
    """Take its stacks off the record, then the removal itself."""
    from moorage.work.definitions import generations

    for stack in removal.stacks:
        generations.forget_all(world, stack)
        world.store.forget_stack(stack)
    world.files.remove(removal.name)


def _is_whole(path: Path) -> bool:
    """True: nothing that git knows is missing, so what is in it may be work of after the removal had begun."""
    if not (path / ".git").is_file():
        return False
    try:
        return not any(change[1] == "D" for change in git.changes(path))
    except DefinitionError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino
