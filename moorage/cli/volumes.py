"""`moorage volumes`: list, prune, snapshot and restore the volumes of stacks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from moorage.cli.completion import StackName, stacks
from moorage.cli.options import Selection, known_stack_of
from moorage.cli.output import as_json, remark, say
from moorage.cli.world import open_world
from moorage.errors import UndoIncompleteError
from moorage.interfaces import World
from moorage.model.request import RestoreRequest, SnapshotRequest
from moorage.model.volume import Volume
from moorage.work.operations.prune import prune as remove_unneeded
from moorage.work.operations.prune import to_prune
from moorage.work.runs.context import Context

_LONGEST_ANSWER = 100
app = App(name="volumes", help="Manage the volumes of stacks.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]
OfStack = Annotated[
    str | None,
    Parameter(name=["--name", "--project-name", "-p"], help="Only the volumes of this stack.", completer=stacks),
]


@app.command
def ls(stack: StackName = None, *, name: OfStack = None, json: Json = False) -> int:
    """List the volumes of Moorage's stacks, their sizes, and the services that mount them.

    Parameters
    ----------
    stack
        Name of the stack, as with `--name` (default: the volumes of all stacks).
    """
    from moorage.work.queries.volumes import listed

    world = open_world()
    found = listed(world, _stack_named(world, stack, name))
    if json:
        as_json([_facts(volume) for volume in found])
    else:
        from moorage.show.volumes_text import volumes_text

        say(volumes_text(found))
    return 0


@app.command
def prune(
    stack: StackName = None,
    *,
    name: OfStack = None,
    all_: Annotated[
        bool, Parameter(name=["--all", "-a"], negative="", help="Include stacks that are down but still on record.")
    ] = False,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], negative="", help="Only list the volumes.")] = False,
    force: Annotated[bool, Parameter(name=["--force", "-f"], negative="", help="Do not ask.")] = False,
    json: Json = False,
) -> int:
    """Remove volumes that Moorage created and no container mounts: their data is lost.

    Without --all, only volumes whose stack is no longer on record: a stack that is down keeps its volumes for the next
    start. Volumes that Moorage did not create are never touched. Exit code 6 if a volume could not be removed.

    Parameters
    ----------
    stack
        Name of the stack, as with `--name` (default: the volumes of all stacks).
    """
    world = open_world()
    chosen, others = to_prune(world, _stack_named(world, stack, name), all_=all_)
    if chosen and not dry_run:
        _list(chosen)
        if not force and not _agreed(f"Remove {len(chosen)} volumes? Their data is lost. [y/N] "):
            remark("nothing was removed")
            return 1
    gone, kept = ([], []) if dry_run else remove_unneeded(world, chosen)
    removed = {volume.name for volume in gone}
    if json:
        as_json(
            {
                "volumes": [{**_facts(volume), "removed": volume.name in removed} for volume in chosen],
                "reclaimed_bytes": sum(volume.size_bytes or 0 for volume in gone),
                "kept": kept,
            }
        )
    else:
        say(_pruned(chosen, gone, dry_run=dry_run))
    for reason in kept:
        remark(f"not removed: {reason}")
    if others:
        remark(f"{len(others)} more belong to stacks that are down: --all removes them too")
    return UndoIncompleteError.exit_code if kept else 0


def _stack_named(world: World, stack: str | None, name: str | None) -> str | None:
    """The stack that is meant. None: all. Raises DefinitionError: there is none of that name."""
    wanted = name or stack
    return None if wanted is None else known_stack_of(world, Selection(), wanted)


def _list(volumes: tuple[Volume, ...]) -> None:
    from moorage.show.volumes_text import size

    for volume in volumes:
        remark(f"  {volume.name}  {size(volume.size_bytes)}")


def _agreed(question: str) -> bool:
    """Ask on the terminal; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        remark("not a terminal: --force removes them without asking")
        return False
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline(_LONGEST_ANSWER).strip().lower() in ("y", "yes")


def _pruned(chosen: tuple[Volume, ...], gone: list[Volume], *, dry_run: bool) -> str:
    from moorage.show.volumes_text import size, volumes_text

    if not chosen:
        return "nothing to prune"
    if dry_run:
        return f"{volumes_text(chosen)}\nwould be removed"
    return f"{len(gone)} removed, {size(sum(volume.size_bytes or 0 for volume in gone))} reclaimed"


@app.command
def snapshot(
    volume: str,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="File to write (default: in $MOORAGE_HOME/snapshots).")
    ] = None,
    files: Annotated[
        bool, Parameter(negative="", help="Copy the files even of a running PostgreSQL, which is stopped meanwhile.")
    ] = False,
    force: Annotated[bool, Parameter(negative="", help="Overwrite an existing file.")] = False,
    json: Json = False,
) -> int:
    """Write a volume to a tar.zst file with checksums.

    A running PostgreSQL is dumped with pg_dump and keeps running. Otherwise the services that mount the volume are
    stopped while it is read, and started again even if reading fails.

    Parameters
    ----------
    volume
        Name of the volume in the compose file or in `moorage volumes ls`.
    """
    from moorage.cli.flow_runner import with_progress
    from moorage.show.volumes_text import snapshot_text
    from moorage.work.operations.snapshot import snapshot as take

    stack = known_stack_of(open_world(), selection)
    request = SnapshotRequest(stack=stack, volume=volume, target=output, as_files=files, force=force)
    found = with_progress(lambda emit: take(Context(open_world(emit)), request))
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        say(snapshot_text(found))
    return 0


@app.command
def restore(
    file: Path,
    volume: str | None = None,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    force: Annotated[bool, Parameter(negative="", help="Replace the content of the volume.")] = False,
    json: Json = False,
) -> int:
    """Restore a snapshot into a volume of the same or another stack, and verify the result.

    The whole file is read and checked before anything is changed. The services that mount the volume, and their
    dependents, are stopped meanwhile. If anything fails, the volume gets its old content back.

    Parameters
    ----------
    file
        A file written by `moorage volumes snapshot`.
    volume
        Volume to restore into (default: the volume with the same name as the one in the snapshot).
    """
    from moorage.cli.flow_runner import with_progress
    from moorage.work.operations.restore import restore as put

    request = RestoreRequest(stack=known_stack_of(open_world(), selection), source=file, volume=volume, force=force)
    about, found = with_progress(lambda emit: put(Context(open_world(emit)), request))
    result = {"stack": request.stack, "volume": about.volume.name, "verified": True, **found.model_dump(mode="json")}
    if json:
        as_json(result)
    else:
        say(f"{about.volume.name}: restored from {found.path} ({found.contents.members} members, verified)")
    return 0


def _facts(volume: Volume) -> dict[str, Any]:
    return {
        **volume.model_dump(mode="json", exclude={"labels"}),
        "services": sorted({user.service for user in volume.users}),
        "in_use": any(user.running for user in volume.users),
    }
