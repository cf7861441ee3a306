"""`moorage rollback`."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import StackName
from moorage.cli.options import LockTimeout, Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import whole_stack_of
from moorage.cli.world import open_world
from moorage.model.request import RollbackRequest
from moorage.model.state import StackStatus


def rollback(
    stack: StackName = None,
    *,
    to: Annotated[int | None, Parameter(help="Number of the generation (default: the one before the current).")] = None,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Apply an earlier generation again, with the images it was created from; it ends ready, or undone.

    The compose file is not changed: the next `up` applies it again.

    Parameters
    ----------
    stack
        Name of the stack, as with `--name`; without it, the stack of the working directory.
    """
    from moorage.cli.flow_runner import run_flow
    from moorage.show.text import summary_text

    began = time.monotonic()
    name = whole_stack_of(open_world(), selection, stack, "rollback")
    request = RollbackRequest(stack=name, to=to)
    found = run_flow("rollback", request.model_dump(mode="json"), start_hub=True, settings=patience.settings())
    found["elapsed_s"] = round(time.monotonic() - began, 3)
    if json:
        as_json(found)
    else:
        status = StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields})
        say(summary_text(status, found["elapsed_s"], found["flow_run_url"], found["changed"]))
    return 0
