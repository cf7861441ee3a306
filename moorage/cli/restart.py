"""`moorage restart`."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.options import Selection, known_stack_of
from moorage.cli.output import as_json, say
from moorage.cli.patience import LockTimeout
from moorage.model.state import StackStatus
from moorage.world import open_world


def restart(
    *services: str,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    recreate: Annotated[bool, Parameter(help="Make the containers anew, from the current generation.")] = False,
    timeout: Annotated[
        float | None, Parameter(name=["--timeout", "-t"], help="Grace period of stops, in seconds.")
    ] = None,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Stop services and start them again: dependents stop first, each starts when what it depends on is ready.

    Ports, environment and volumes stay as they are. Who depends on a restarted service restarts too if it says so
    (`depends_on.restart: true`) or is not ready: a crash is mended. Nothing is undone if a service does not become
    ready: exit code 5, all is left for a look.

    Parameters
    ----------
    services
        Services to restart; without one, all but the one-shots that have ended well.
    """
    patience.apply()
    from moorage.cli.flow_runner import run_flow
    from moorage.show.text import summary_text

    began = time.monotonic()
    name = known_stack_of(open_world(), selection)
    parameters = {"stack": name, "services": list(services), "recreate": recreate, "timeout_s": timeout}
    found = run_flow("restart", parameters, start_hub=False)
    found["elapsed_s"] = round(time.monotonic() - began, 3)
    if json:
        as_json(found)
    else:
        status = StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields})
        say(summary_text(status, found["elapsed_s"], found.get("flow_run_url"), found["changed"]))
    return 0
