"""`moorage restart`."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import LockTimeout, Selection
from moorage.cli.output import as_json, say
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.model.request import RestartRequest
from moorage.model.state import StackStatus


def restart(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    recreate: Annotated[bool, Parameter(help="Re-create the containers from the current generation.")] = False,
    timeout: Annotated[
        float | None, Parameter(name=["--timeout", "-t"], help="Grace period for stopping a service, in seconds.")
    ] = None,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Stop services and start them again: dependents stop first, each starts when its dependencies are ready.

    Ports, environment and volumes stay as they are. A dependent of a restarted service restarts too if it asks for it
    (`depends_on.restart: true`) or is not ready, so a crash is repaired. If a service does not become ready, nothing is
    undone: exit code 5, and everything is kept for inspection.

    Parameters
    ----------
    services
        Services to restart (default: all except one-shots that have completed).
    """
    from moorage.cli.flow_runner import run_flow
    from moorage.show.text import summary_text

    began = time.monotonic()
    name, services = target_of(open_world(), selection, services)
    request = RestartRequest(stack=name, services=services, recreate=recreate, timeout_s=timeout)
    found = run_flow("restart", request.model_dump(mode="json"), start_hub=False, settings=patience.settings())
    found["elapsed_s"] = round(time.monotonic() - began, 3)
    if json:
        as_json(found)
    else:
        status = StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields})
        say(summary_text(status, found["elapsed_s"], found.get("flow_run_url"), found["changed"]))
    return 0
