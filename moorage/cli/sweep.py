"""`moorage sweep`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.cli.world import open_world
from moorage.errors import UndoIncompleteError
from moorage.model.request import SweepRequest
from moorage.rules.disk import size_bytes
from moorage.show.volumes_text import size


def sweep(
    *,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], help="Only show what would be done.")] = False,
    volumes: Annotated[
        bool, Parameter(name=["--volumes", "-v"], help="Remove the volumes of ended stacks too: data is lost.")
    ] = False,
    disk: Annotated[
        str | None, Parameter(help="Remove built images that nothing uses, until they take no more: 20GB.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print the findings as JSON.")] = False,
) -> int:
    """Clean up what crashes, deleted directories and expired stacks have left behind.

    Recovers unfinished runs, ends stacks whose directory is gone or whose time to live has passed, releases leases
    without a stack, removes our stray networks and image tags, and the runs, generations and failure reports that are
    more or older than is kept (`MOORAGE_KEEP_…`). What is not Moorage's is never touched.

    A stack whose directory is gone is ended when it is still gone half an hour after a sweep first missed it
    (`MOORAGE_SWEEP_AGAIN_S`); `moorage down --name STACK` ends it at once. What is left for now is told, with the
    reason. `--disk SIZE`, or `MOORAGE_SWEEP_DISK`, bounds what the images that Moorage has built take on the engine's
    disk: those that no container uses and the next start of no stack needs go, longest unused first, with older
    generations that have them. Exit code 6 if something could not be cleared away or cannot be read; the rest is swept
    all the same.
    """
    if disk is not None:
        size_bytes(disk, "--disk")  # raises
    request = SweepRequest(dry_run=dry_run, volumes=volumes, disk=disk or "")
    if dry_run:
        from moorage.hub import log_files
        from moorage.hub.hub_home import hub_home
        from moorage.work.operations.sweep import sweep as look
        from moorage.work.runs.context import Context

        world = open_world()
        leftovers = asyncio.run(look(Context(world), request))
        leftovers += log_files.swept(hub_home(), world.settings.hub_log_bytes, dry_run=True)
        found = [one.model_dump(mode="json") for one in leftovers]
    else:
        from moorage.cli.flow_runner import run_flow

        found = run_flow("sweep", request.model_dump(mode="json"), start_hub=False)["findings"]
    if json:
        as_json(found)
    else:
        say(_text(found, dry_run=dry_run))
    return UndoIncompleteError.exit_code if any(one["error"] for one in found) else 0


def _text(found: list[dict[str, Any]], *, dry_run: bool) -> str:
    if not found:
        return "nothing to sweep"
    return "\n".join(f"{_mark(one, dry_run=dry_run)} {_of(one)}: {one['what']}{_freed(one)}" for one in found)


def _freed(one: dict[str, Any]) -> str:
    return "" if one["bytes"] is None else f" ({size(one['bytes'])})"


def _of(one: dict[str, Any]) -> str:
    return f"{one['kind']} of {one['stack']}" if one["stack"] else str(one["kind"])


def _mark(one: dict[str, Any], *, dry_run: bool) -> str:
    if one["left"]:
        return f"left ({one['left']})"
    if one["error"]:
        return f"FAILED ({one['error']})"
    if dry_run:
        return "would sweep"
    return "swept"
