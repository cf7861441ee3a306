"""Leases the host ports of a run, and gives up a port that turns out to be taken."""

from __future__ import annotations

from moorage.errors import PortError, PortTakenError
from moorage.model.event import Action
from moorage.model.lease import Lease
from moorage.rules import composing
from moorage.work.definitions import generations
from moorage.work.definitions.resolve import desire
from moorage.work.runs.run import Run


def lease(run: Run) -> tuple[Lease, ...]:
    """Lease what the definition publishes, and have it read again with that; for a stored generation its very ports."""
    if run.planned is None:
        assert run.generation is not None  # noqa: S101 - a run is about a plan or about a stored generation
        return generations.lease_again(run.world, run.generation, run.id)
    world, resolved = run.world, run.planned.resolved
    leases = world.store.lease(
        composing.requests_of(resolved.definition),
        run=run.id,
        taken=world.engine.published_ports() | run.excluded,
        bindable=world.prober.bindable,
        strict=resolved.request.strict_ports,
        complete=True,
        now=world.clock.now(),
    )
    if leases != run.desired.leases:
        run.desired = desire(world, resolved, leases)
    return leases


def give_up_port(run: Run, error: PortTakenError) -> None:
    """Release the lease of a port that someone else holds, and never choose it again in this run."""
    service, port = error.fields.get("service"), error.fields.get("port")
    leases = [lease for lease in run.world.store.leases(run.stack) if lease.key.service == service]
    own = [lease for lease in leases if port in lease.ports]
    clashing = own or leases  # the engine may name no port, or another one
    if (run.request and run.request.strict_ports) or not clashing:
        holder = run.world.prober.holder_of(port, "tcp") if port else None
        by = f" by {holder}" if holder else ""
        message = f"services.{service}: port {port} is taken{by}"
        raise PortError(
            message, service=service, port=port, holder=holder, hint="Free it, or leave out --strict-ports."
        )
    for lease in clashing:
        run.excluded.update((number, lease.key.protocol) for number in lease.ports if number == port or not own)
    run.world.store.release([lease.key for lease in clashing])
    ports = ", ".join(lease.said for lease in clashing)
    run.tell(Action.RETRY, f"start {service}", f"port {ports} was taken: leasing another", service=service)
