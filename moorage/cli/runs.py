"""`moorage runs`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import StackName, stacks
from moorage.cli.output import as_json, say
from moorage.errors import DefinitionError
from moorage.hub import runs as hub_runs


def runs(
    stack: StackName = None,
    *,
    name: Annotated[
        str | None,
        Parameter(name=["--name", "--project-name", "-p"], help="List only the runs of this stack.", completer=stacks),
    ] = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="Number of runs to list, newest first.")] = 20,
    json: Annotated[bool, Parameter(help="Print the runs as JSON.")] = False,
) -> int:
    """List the latest flow runs of the hub: state, progress, duration.

    Parameters
    ----------
    stack
        Name of the stack, as with `--name` (default: the runs of all stacks).
    """
    if name is not None and stack is not None:
        message = f"runs: unexpected argument {stack!r}: the stack is named with --name"
        raise DefinitionError(message, hint=f"`moorage runs --name {name}` lists its runs.")
    about = name or stack
    found = hub_runs.last(hub_runs.address(), limit, about or "")
    if about and not found:
        _refuse_unknown(about)
    if json:
        as_json([one.model_dump(mode="json") for one in found])
    else:
        from moorage.show.formatting import ago, seconds, table

        now = datetime.now(UTC)
        rows = [
            (
                one.id,
                one.name,
                one.state,
                "-" if one.progress is None else f"{one.progress:.0f} %",
                "-" if one.duration_s is None else seconds(one.duration_s),
                ago(one.started_at or one.created_at, now),
            )
            for one in found
        ]
        none = f"no runs of {about} yet" if about else "no runs yet"
        say(table(("ID", "RUN", "STATE", "PROGRESS", "TOOK", "WHEN"), rows) if rows else none)
    return 0


def _refuse_unknown(stack: str) -> None:
    """Raises DefinitionError for a stack that there never was."""
    from moorage.cli.options import is_known, unknown_stack
    from moorage.cli.world import open_world

    world = open_world()
    if not is_known(world, stack):
        raise unknown_stack(world, stack)
