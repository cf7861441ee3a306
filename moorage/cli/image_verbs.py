"""What `moorage build` and `moorage pull` share: images are made in this process, without a flow, and stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any

from moorage.cli.options import LockTimeout
from moorage.cli.output import as_json, say
from moorage.cli.target import told_from_stacks
from moorage.cli.world import open_world

if TYPE_CHECKING:
    from moorage.work.runs.context import Context

Make = Callable[["Context"], Coroutine[Any, Any, tuple[str, list[str]]]]
"""Gives the stack's name and the services whose images were made."""


def make_images(
    make: Make, services: Collection[str], patience: LockTimeout, verb: tuple[str, str], *, quiet: bool, json: bool
) -> int:
    """Call `make`, with progress, and print whose images were made; gives the exit code.

    `verb`: "built" and "build". Raises what `make` raises; of a stack named like a missing service, the error tells.
    """
    from moorage.cli.flow_runner import with_progress
    from moorage.work.runs.context import Context

    with told_from_stacks(open_world(), services):
        stack, made = with_progress(
            lambda emit: make(Context(open_world(emit, patience.settings()))), undoes=False, quiet=quiet
        )
    past, present = verb
    if json:
        as_json({"stack": stack, "made": made})
    else:
        say(f"{stack}: {past} {', '.join(made)}" if made else f"{stack}: nothing to {present}")
    return 0
