"""`moorage worktree`: branches in git worktrees, each with a stack of its own."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from moorage.adapters import git
from moorage.adapters.git import Worktree, repository_and_branch
from moorage.cli import worktree_removal as removals
from moorage.cli.options import Selection
from moorage.cli.output import as_json, remark, say
from moorage.cli.world import open_world
from moorage.errors import DefinitionError, MoorageError
from moorage.interfaces import World
from moorage.model.request import DownRequest
from moorage.model.state import StackRecord
from moorage.rules import naming

app = App(name="worktree", help="Manage branches side by side, each in a git worktree with a stack of its own.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]


@app.command
def add(
    branch: str,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    path: Annotated[Path | None, Parameter(help="Path of the worktree (default: next to the main checkout).")] = None,
    from_: Annotated[str | None, Parameter(name="--from", help="Start point of a new branch (default: HEAD).")] = None,
    up: Annotated[bool, Parameter(help="Bring its stack up; --no-up does not.", negative="--no-up")] = True,
    json: Json = False,
) -> int:
    """Create a git worktree of a branch and bring its stack up; if the branch does not exist, it is created.

    If the stack does not come up, it is undone, as with `up`; the worktree stays.

    Parameters
    ----------
    branch
        Name of the branch.
    """
    directory = (selection.project_directory or Path.cwd()).absolute()
    top = git.top_of(directory)
    name = git.checked_branch(top, branch)
    target = _place(top, name, path)
    made = git.add(top, target, name, from_)
    remark(f"{target}: worktree of {'new ' if made else ''}branch {name}")
    project = target / directory.resolve().relative_to(top.resolve())
    if not up:
        if json:
            as_json({"path": str(target), "branch": name, "new_branch": made})
        return 0
    from moorage.cli.up import up as bring_up

    try:
        return bring_up(selection=replace(selection, project_directory=project), json=json)
    except MoorageError as error:
        remark(f"the worktree {target} stays; `moorage worktree remove {name}` removes it")
        raise error.with_fields(worktree=str(target)) from None


def _place(top: Path, branch: str, path: Path | None) -> Path:
    """Path of the new worktree. Raises DefinitionError if the path exists and is not an empty directory."""
    main = next((tree.path for tree in git.listed(top) if tree.main), top)
    repository, _ = repository_and_branch(top) or (main.name, "")
    target = path.absolute() if path else main.parent / naming.slug(f"{repository}-{branch}")
    if os.path.exists(target) and (not os.path.isdir(target) or any(target.iterdir())):
        message = f"{target} already exists"
        raise DefinitionError(message, hint="Choose another path with --path.", path=str(target))
    return target


@app.command
def remove(
    branch: str,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    force: Annotated[
        bool, Parameter(negative="", help="Remove it even with uncommitted changes: they are lost.")
    ] = False,
    volumes: Annotated[
        bool, Parameter(name=["--volumes", "-v"], negative="", help="Remove its volumes too: data is lost.")
    ] = False,
    json: Json = False,
) -> int:
    """Take the stack of a worktree down and remove the worktree; its branch and, without --volumes, its volumes stay.

    Parameters
    ----------
    branch
        Name of the branch, or path of the worktree.
    """
    directory = (selection.project_directory or Path.cwd()).absolute()
    top = git.top_of(directory)
    main = next(one.path for one in git.listed(top) if one.main)
    world = open_world()
    removal = removals.begun(world, main, branch)
    if removal:
        remark(f"{removal.path}: its removal was cut off; finishing it")
        for record in _stacks_in(world, Path(removal.path)):  # one of them may have been brought up meanwhile
            _end(record, volumes=volumes)
        removals.finish(removal)
    else:
        tree = _chosen(top, branch)
        removals.refuse_loss(tree, force=force)
        stacks = _stacks_in(world, tree.path)
        for record in stacks:
            _end(record, volumes=volumes)
        removal = removals.begin(world, main, tree, tuple(record.name for record in stacks), force=force)
    removals.forget(world, removal)
    if json:
        as_json({"path": removal.path, "branch": removal.branch, "stacks": list(removal.stacks)})
    else:
        kept = "" if volumes or not removal.stacks else "; its volumes stay (`moorage volumes prune`)"
        remark(f"{removal.path}: removed{kept}")
    return 0


def _chosen(top: Path, wanted: str) -> Worktree:
    """The worktree with this branch or path. Raises DefinitionError, which lists the worktrees."""
    trees = git.listed(top)
    path = Path(wanted).absolute()
    found = next((tree for tree in trees if wanted == tree.branch or path == tree.path), None)
    if found is None or found.main:
        what = "is the main checkout" if found else "is not a worktree"
        there = ", ".join(tree.branch or str(tree.path) for tree in trees if not tree.main) or "none"
        raise DefinitionError(f"{wanted[:80]!r} {what}", hint=f"Worktrees: {there}.", branch=wanted[:80])
    return found


def _stacks_in(world: World, path: Path) -> list[StackRecord]:
    """The stacks whose directory is in a worktree."""
    inside = path.resolve()
    return [record for record in world.store.stacks() if Path(record.path).resolve().is_relative_to(inside)]


def _end(record: StackRecord, *, volumes: bool) -> None:
    from moorage.cli.flow_runner import run_flow

    request = DownRequest(stack=record.name, volumes=volumes, release_ports=True)
    run_flow("down", request.model_dump(mode="json"), start_hub=False)
    remark(f"{record.name}: down")


@app.command
def ls(
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    json: Json = False,
) -> int:
    """List the worktrees of this repository with their stacks."""
    from moorage.work.queries.status import status

    world = open_world()
    trees = [tree for tree in git.listed(selection.project_directory or Path.cwd()) if not tree.bare]
    found: list[tuple[Worktree, StackRecord | None]] = []
    for tree in trees:
        own = _own_stacks(world, trees, tree)
        found.extend((tree, record) for record in own)
        if not own:
            found.append((tree, None))
    names = [record.name for _, record in found if record]

    async def look() -> dict[str, str]:
        states = await asyncio.gather(*(status(world, name, ask=False) for name in names))
        return {one.stack: str(one.state) for one in states}

    states = asyncio.run(look())
    if json:
        as_json([_facts(tree, record, states) for tree, record in found])
    else:
        from moorage.show.formatting import clean, table

        rows = [
            (
                clean(tree.branch or "(detached)"),
                record.name if record else "-",
                states[record.name] if record else "-",
                clean(str(tree.path)),
            )
            for tree, record in found
        ]
        say(table(("BRANCH", "STACK", "STATE", "PATH"), rows))
    return 0


def _own_stacks(world: World, trees: list[Worktree], tree: Worktree) -> list[StackRecord]:
    """The stacks in a worktree, but not those in another worktree inside it."""
    inner = [other.path.resolve() for other in trees if other != tree and other.path.is_relative_to(tree.path)]
    own = _stacks_in(world, tree.path)
    return [record for record in own if not any(Path(record.path).resolve().is_relative_to(path) for path in inner)]


def _facts(tree: Worktree, record: StackRecord | None, states: dict[str, str]) -> dict[str, Any]:
    return {
        **tree.model_dump(mode="json"),
        "stack": record.name if record else None,
        "state": states[record.name] if record else None,
    }
