"""`moorage start`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import LockTimeout, Selection
from moorage.cli.output import as_json, say, say_run
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.model.request import StartRequest
from moorage.model.state import StackStatus


def start(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Start stopped services and their dependencies, each as soon as its dependencies are ready.

    Parameters
    ----------
    services
        Services to start (default: all).
    """
    from moorage.cli.flow_runner import run_flow
    from moorage.show.text import status_text

    name, services = target_of(open_world(), selection, services)
    request = StartRequest(stack=name, services=services)
    found = run_flow("start", request.model_dump(mode="json"), start_hub=False, settings=patience.settings())
    if json:
        as_json(found)
    else:
        say(status_text(StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields})))
        say_run(found)
    return 0
