"""Starts replicas that share a published range: the engine chooses among its ports, and is kept off those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moorage.errors import PortTakenError
from moorage.model.lease import Lease
from moorage.model.state import Container
from moorage.work.runs.run import Run


def leases_of(run: Run, service: str) -> tuple[Lease, ...]:
    """The leases of a service that are about several ports each."""
    return tuple(one for one in run.world.store.leases(run.stack) if one.key.service == service and one.count > 1)


def keep_off(run: Run, leases: Sequence[Lease]) -> Callable[[], None]:
    """Take the ports inside the ranges that are not leased, until the returned function is called."""
    return run.world.prober.hold([(port, one.key.protocol, one.host_ip) for one in leases for port in one.skipped])


def start(run: Run, container: Container, leases: Sequence[Lease]) -> None:
    """Start a container; where the engine meets a port of somebody else in the range, it goes on to the next one.

    An engine tries one port for each start. Raises PortTakenError: one of the leased ports is taken, or all are.
    """
    own = {port for one in leases for port in one.ports}
    turns = 2 * sum(len(one.ports) + len(one.skipped) for one in leases) if any(one.skipped for one in leases) else 1
    clash: PortTakenError | None = None
    for _ in range(turns):
        try:
            run.world.engine.start(container.id)
        except PortTakenError as error:
            clash = error if clash is None or error.fields.get("port") in own else clash
        else:
            return
    assert clash is not None  # noqa: S101 - it is tried at least once
    raise clash
