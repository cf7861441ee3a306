"""`moorage stop`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import LockTimeout, Selection
from moorage.cli.output import as_json, remark, say_run
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.model.request import StopRequest


def stop(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    timeout: Annotated[float | None, Parameter(name=["--timeout", "-t"], help="Grace period, in seconds.")] = None,
    force: Annotated[
        bool, Parameter(help="SIGKILL when the grace period is over, even if a pre_stop hook is still running.")
    ] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Stop services, dependents first and independent services in parallel; their containers stay.

    Each service gets its stop signal; after its grace period the engine kills it. `pre_stop` hooks run before that, and
    take as long as they need unless you give `--force`.

    Parameters
    ----------
    services
        Services to stop (default: all).
    """
    from moorage.cli.flow_runner import run_flow

    name, services = target_of(open_world(), selection, services)
    request = StopRequest(stack=name, services=services, timeout_s=timeout, force=force)
    found = run_flow("stop", request.model_dump(mode="json"), start_hub=False, settings=patience.settings())
    remark(f"{name}: stopped")
    if json:
        as_json(found)
    else:
        say_run(found)
    return 0
