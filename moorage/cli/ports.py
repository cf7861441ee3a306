"""`moorage ports`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.cli.selection import Selection, stack_of
from moorage.world import open_world


def ports(
    action: Literal["ls"] = "ls",
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    everywhere: Annotated[bool, Parameter(name=["--all", "-a"], help="The leases of all stacks.")] = False,
    json: Annotated[bool, Parameter(help="Print the leases as JSON.")] = False,
) -> int:
    """Show the leased host ports of the stack of this directory, or of all stacks.

    Parameters
    ----------
    action
        `ls`.
    """
    del action
    world = open_world()
    leases = world.store.leases(None if everywhere else stack_of(world, selection))
    if json:
        as_json([lease.model_dump(mode="json") for lease in leases])
    else:
        from moorage.show.text import leases_text

        say(leases_text(leases))
    return 0
