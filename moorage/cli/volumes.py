"""`moorage volumes`: what stacks keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from moorage.cli.options import Selection, known_stack_of
from moorage.cli.output import as_json, remark, say
from moorage.cli.world import open_world
from moorage.errors import UndoIncompleteError
from moorage.model.request import RestoreRequest, SnapshotRequest
from moorage.model.volume import Volume
from moorage.work.operations.prune import prune as remove_unneeded
from moorage.work.operations.prune import to_prune
from moorage.work.runs.context import Context

app = App(name="volumes", help="Look after volumes: what stacks keep.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]


@app.command
def ls(stack: str | None = None, *, json: Json = False) -> int:
    """List the volumes of our stacks, how large they are, and which services mount them.

    Parameters
    ----------
    stack
        Only those of this stack.
    """
    from moorage.work.queries.volumes import listed

    world = open_world()
    found = listed(world, stack if stack is None else known_stack_of(world, Selection(), stack))
    if json:
        as_json([_facts(volume) for volume in found])
    else:
        from moorage.show.volumes_text import volumes_text

        say(volumes_text(found))
    return 0


@app.command
def prune(
    stack: str | None = None,
    *,
    all_: Annotated[
        bool, Parameter(name=["--all", "-a"], negative="", help="Also of stacks that are on record, but down.")
    ] = False,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], negative="", help="Only list them.")] = False,
    force: Annotated[bool, Parameter(name=["--force", "-f"], negative="", help="Do not ask.")] = False,
    json: Json = False,
) -> int:
    """Remove volumes of ours that no container mounts: their data is lost.

    Without --all only those whose stack is not on record any more: what a stack that is down keeps is there for its
    next start. What is not Moorage's is never touched. Exit code 6 if one could not be removed.

    Parameters
    ----------
    stack
        Only those of this stack.
    """
    world = open_world()
    chosen, others = to_prune(world, stack, all_=all_)
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
        remark(f"stays: {reason}")
    if others:
        remark(f"{len(others)} more of stacks that are down: --all removes them too")
    return UndoIncompleteError.exit_code if kept else 0


def _list(volumes: tuple[Volume, ...]) -> None:
    from moorage.show.volumes_text import size

    for volume in volumes:
        remark(f"  {volume.name}  {size(volume.size_bytes)}")


def _agreed(question: str) -> bool:
    """Ask a person; without one the answer is no."""
    if not sys.stdin.isatty():
        remark("not a terminal: --force removes them without asking")
        return False
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


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
        Path | None, Parameter(name=["--output", "-o"], help="File to write. Without it, in $MOORAGE_HOME/snapshots.")
    ] = None,
    files: Annotated[
        bool, Parameter(negative="", help="Files, also of a PostgreSQL that runs: it is stopped for it.")
    ] = False,
    force: Annotated[bool, Parameter(negative="", help="Overwrite a file that is there.")] = False,
    json: Json = False,
) -> int:
    """Write a volume to a tar.zst file with checksums.

    A PostgreSQL that runs is asked by pg_dump and runs on. Else the services that mount the volume are stopped while
    it is read, and started again, also if that fails.

    Parameters
    ----------
    volume
        What the compose file or `moorage volumes ls` calls it.
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
    force: Annotated[bool, Parameter(negative="", help="Replace what is in the volume.")] = False,
    json: Json = False,
) -> int:
    """Put a snapshot into a volume of the same or another stack, and compare.

    The file is read whole before anything is touched. The services that mount the volume, and who depends on them,
    rest meanwhile. If anything fails, the volume gets back what was in it.

    Parameters
    ----------
    file
        What `moorage volumes snapshot` has written.
    volume
        Where to; without it, the volume of the same name as the one that the snapshot was taken of.
    """
    from moorage.cli.flow_runner import with_progress
    from moorage.work.operations.restore import restore as put

    request = RestoreRequest(stack=known_stack_of(open_world(), selection), source=file, volume=volume, force=force)
    about, found = with_progress(lambda emit: put(Context(open_world(emit)), request))
    result = {"stack": request.stack, "volume": about.volume.name, "verified": True, **found.model_dump(mode="json")}
    if json:
        as_json(result)
    else:
        say(f"{about.volume.name} holds {found.path} now ({found.contents.members} members, verified)")
    return 0


def _facts(volume: Volume) -> dict[str, Any]:
    return {
        **volume.model_dump(mode="json", exclude={"labels"}),
        "services": sorted({user.service for user in volume.users}),
        "in_use": any(user.running for user in volume.users),
    }
