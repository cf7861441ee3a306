"""`moorage down`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.options import LockTimeout, Selection
from moorage.cli.output import as_json, remark, say_run
from moorage.cli.target import target_of
from moorage.cli.world import open_world
from moorage.model.request import DownRequest


def down(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    volumes: Annotated[bool, Parameter(name=["--volumes", "-v"], help="Remove volumes: data is lost.")] = False,
    release_ports: Annotated[bool, Parameter(help="Release the leased ports.")] = False,
    timeout: Annotated[
        float | None, Parameter(name=["--timeout", "-t"], help="Grace period for stopping a service, in seconds.")
    ] = None,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Remove a stack's containers and networks; its volumes and leases stay unless you ask otherwise.

    With services, only their containers are removed; the rest of the stack stays as it is.

    Parameters
    ----------
    services
        Services to remove (default: the whole stack).
    """
    world = open_world()
    name, named = target_of(world, selection, services, stack_too=True, absent=True)
    observed = world.engine.observe(name)
    from moorage.cli.flow_runner import run_flow

    there = [observed.containers, observed.one_offs, observed.networks, volumes and observed.volumes]
    if not any([*there, world.store.stack(name), world.store.leases(name)]) and not world.store.unfinished_runs(name):
        found = {"stack": name, "state": "absent"}
        remark(f"{name}: nothing to do, there is no such stack")
    else:
        request = DownRequest(
            stack=name, volumes=volumes, release_ports=release_ports, timeout_s=timeout, services=named
        )
        found = run_flow("down", request.model_dump(mode="json"), start_hub=False, settings=patience.settings())
        remark(f"{name}: {', '.join(named)} removed" if named else f"{name}: down")
    if json:
        as_json(found)
    else:
        say_run(found)
    return 0
