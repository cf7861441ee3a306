"""What `moorage build` and `moorage pull` share: images are made in this process, without a flow, and stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from moorage.cli.options import LockTimeout
from moorage.cli.output import as_json, say
from moorage.cli.target import told_from_stacks
from moorage.cli.world import open_world

if TYPE_CHECKING:
    from moorage.work.runs.context import Context


class Made(NamedTuple):
    """The services of a stack whose images were made."""

    stack: str
    services: list[str]


def make_images(
    make: Callable[[Context], Coroutine[Any, Any, tuple[str, list[str]]]],
    services: Collection[str],
    patience: LockTimeout,
    *,
    quiet: bool,
) -> Made:
    """Call `make`, with progress. Raises what it raises; of a stack named like a missing service, the error tells."""
    from moorage.cli.flow_runner import with_progress
    from moorage.work.runs.context import Context

    with told_from_stacks(open_world(), services):
        stack, made = with_progress(
            lambda emit: make(Context(open_world(emit, patience.settings()))), undoes=False, quiet=quiet
        )
    return Made(stack, made)


def show_made(made: Made, verb: str, *, nothing: str, json: bool) -> int:
    """Print whose images were made; gives the exit code."""
    if json:
        as_json({"stack": made.stack, "made": made.services})
    else:
        say(f"{made.stack}: {verb} {', '.join(made.services)}" if made.services else f"{made.stack}: {nothing}")
    return 0
