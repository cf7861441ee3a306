"""`moorage sweep`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.errors import UndoIncompleteError
from moorage.world import open_world


def sweep(
    *,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], help="Only show what would be done.")] = False,
    volumes: Annotated[
        bool, Parameter(name=["--volumes", "-v"], help="Remove the volumes of ended stacks too: data is lost.")
    ] = False,
    json: Annotated[bool, Parameter(help="Print the findings as JSON.")] = False,
) -> int:
    """Clean up what crashes, deleted directories and expired stacks have left behind.

    Recovers unfinished runs, removes stacks whose directory is gone or whose time to live is over, releases leases
    without a stack, and removes stray networks and image tags. Only what Moorage created is touched. Exit code 6 if
    something could not be cleaned up.
    """
    if dry_run:
        from moorage.work.operations.sweep import Sweep
        from moorage.work.operations.sweep import sweep as look

        found = [one.model_dump(mode="json") for one in asyncio.run(look(Sweep(open_world(), dry_run=True)))]
    else:
        from moorage.cli.flow_runner import run_flow

        found = run_flow("sweep", {"dry_run": False, "volumes": volumes}, start_hub=False)["findings"]
    if json:
        as_json(found)
    else:
        say(_text(found, dry_run=dry_run))
    return UndoIncompleteError.exit_code if any(one["error"] for one in found) else 0


def _text(found: list[dict[str, Any]], *, dry_run: bool) -> str:
    if not found:
        return "nothing to sweep"
    return "\n".join(f"{_mark(one, dry_run=dry_run)} {one['kind']} of {one['stack']}: {one['what']}" for one in found)


def _mark(one: dict[str, Any], *, dry_run: bool) -> str:
    if dry_run:
        return "would sweep"
    return "swept" if one["swept"] else f"FAILED ({one['error']})"
