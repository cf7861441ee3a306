"""`ports release`: releases leased host ports."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.errors import PortError
from moorage.interfaces import World
from moorage.model.lease import Lease
from moorage.work.queries import engines
from moorage.work.queries.ports import _chosen


def release(world: World, stack: str, which: Sequence[str]) -> tuple[Lease, ...]:
    """Give back the leases of a stack, or those of some services or ports.

    Raises PortError, and then nothing is released: a container has one of the ports, be it stopped, or a run that did
    not finish may need it; BusyError: a run is under way.
    """
    lock = world.lock(stack)
    lock.acquire("ports release", world.settings.lock_timeout_s)
    try:
        engines.refuse(world, stack)
        _check_finished(world, stack)
        leases = _chosen(world.store.leases(stack), stack, which)
        for lease in leases:
            _check_unused(world, lease)
        world.store.release([lease.key for lease in leases])
    finally:
        lock.release()
    return leases


def _check_finished(world: World, stack: str) -> None:
    """What ends a run that was cut off brings back what there was when it began, with its ports."""
    if runs := world.store.unfinished_runs(stack):
        raise PortError(
            f"{stack}: `{runs[0].operation}` did not finish and may need its ports",
            hint=f"`moorage sweep` ends it; then `moorage ports release {stack}` can release them.",
            stack=stack,
        )


def _check_unused(world: World, lease: Lease) -> None:
    key = lease.key
    containers = world.engine.containers(key.stack, key.service)
    if containers:
        holder = f"container {containers[0].name} ({containers[0].state})"
        raise PortError(
            f"port {lease.port} is in use: {holder}",
            hint=f"`moorage down --name {key.stack} --release-ports` removes the containers and releases the ports.",
            port=lease.port,
            service=key.service,
            target=key.target,
            holder=holder,
        )
