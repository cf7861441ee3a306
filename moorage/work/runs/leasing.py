"""Leases the host ports of a run, and gives up a port that turns out to be taken."""

from __future__ import annotations

from moorage.errors import PortError, PortTakenError
from moorage.model.event import Action
from moorage.work.runs.run import Run


def give_up_port(run: Run, error: PortTakenError) -> None:
    """Release the lease of a port that someone else holds, and never choose it again in this run."""
    service, port = error.fields.get("service"), error.fields.get("port")
    leases = [lease for lease in run.world.store.leases(run.stack) if lease.key.service == service]
    clashing = [lease for lease in leases if port in lease.ports] or leases
    if (run.request and run.request.strict_ports) or not clashing:
        holder = run.world.prober.holder_of(port, "tcp") if port else None
        by = f" by {holder}" if holder else ""
        message = f"services.{service}: port {port} is taken{by}"
        raise PortError(
            message, service=service, port=port, holder=holder, hint="Free it, or leave out --strict-ports."
        )
    for lease in clashing:
        run.excluded.update((number, lease.key.protocol) for number in lease.ports)
    run.world.store.release([lease.key for lease in clashing])
    ports = ", ".join(str(lease.port) for lease in clashing)
    run.tell(Action.RETRY, f"start {service}", f"port {ports} was taken: leasing another", service=service)
