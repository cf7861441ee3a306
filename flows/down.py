"""`down`: remove a stack's containers and networks; volumes and leases stay unless requested."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import State, flow

from moorage.model.request import DownRequest
from moorage.work.operations.down import down as take_down
from tasks import parameters
from tasks.driver import carried_out


@flow(name="down", flow_run_name="down {stack}", persist_result=False)
async def down(
    stack: parameters.StackName,
    volumes: Annotated[bool, parameters.switch("Remove volumes")] = False,
    release_ports: Annotated[bool, parameters.switch("Release ports")] = False,
    timeout_s: parameters.Grace = None,
    services: parameters.Services = parameters.NOTHING,
) -> dict[str, Any] | State[Any]:
    """Remove a stack's containers and networks.

    Args:
        stack: Name of the stack, as `moorage ls` shows it.
        volumes: Remove its volumes too: their data is lost.
        release_ports: Release its host ports; otherwise they are kept for its next start.
        timeout_s: Grace period for stopping a service, in seconds. Empty: as in the definition.
        services: Services whose containers to remove; the rest of the stack stays. Empty: all of the stack.
    """
    request = DownRequest(
        stack=stack, volumes=volumes, release_ports=release_ports, timeout_s=timeout_s, services=tuple(services)
    )
    return await carried_out(lambda context: take_down(context, request))
