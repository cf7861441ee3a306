"""`moorage history`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import StackName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import whole_stack_of
from moorage.cli.world import open_world
from moorage.model.state import RunRecord


def history(
    stack: StackName = None,
    *,
    runs: Annotated[
        bool, Parameter(help="List every run (up, down, rollback, …), including those that left nothing.")
    ] = False,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print generations, or runs, as JSON.")] = False,
) -> int:
    """List the stored generations of a stack, newest first: `rollback` goes back to one of them.

    Parameters
    ----------
    stack
        Name of the stack, as with `--name`; without it, the stack of the working directory.
    """
    world = open_world()
    name = whole_stack_of(world, selection, stack, "history")
    if runs:
        found = world.store.runs(name)
        if json:
            as_json([_as_dict(run) for run in found])
        else:
            from moorage.show.text import runs_text

            say(runs_text(found))
        return 0
    generations = world.store.generations(name)
    if json:
        as_json([one.model_dump(mode="json") for one in generations])
    else:
        from moorage.show.text import history_text

        say(history_text(generations))
    return 0


def _as_dict(run: RunRecord) -> dict[str, object]:
    # The state before the run and its arguments are for recovery only, and may contain environment values.
    return run.model_dump(mode="json", exclude={"before", "arguments"})
