"""Host ports and their holders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from moorage.errors import DefinitionError, PortError, PortTakenError
from moorage.interfaces import World
from moorage.model.definition import Protocol
from moorage.model.lease import Lease
from moorage.model.port_use import PortFacts, PortStats, WantedPort
from moorage.rules.ports import HIGHEST, port_range
from moorage.rules.spelling import nearest

_MOST_WANTED = 10


def facts(world: World, port: int, protocol: Protocol, host_ip: str = "127.0.0.1") -> PortFacts:
    """Who holds a port: lease, engine, process; and which service wanted it and got another."""
    leases = [lease for lease in world.store.leases() if lease.key.protocol == protocol]
    holder = next((lease for lease in leases if port in lease.ports), None)
    return PortFacts(
        port=port,
        protocol=protocol,
        lease=holder,
        container=world.engine.publishers().get((port, protocol)),
        process=world.prober.holder_of(port, protocol),
        bindable=world.prober.bindable(port, protocol, holder.host_ip if holder else host_ip),
        moved=tuple(lease for lease in leases if lease.wanted == port and port not in lease.ports),
    )


def taken(world: World, stack: str, error: PortTakenError) -> PortError:
    """The error for a person: which port of which service, and who has it, where that can be seen."""
    service, port = str(error.fields.get("service")), error.fields.get("port")
    lease = next((one for one in world.store.leases(stack) if port in one.ports and one.key.service == service), None)
    known = facts(world, port, lease.key.protocol if lease else "tcp") if port else None
    container = f"container {known.container}" if known and known.container else None
    holder = container or (known.process if known else None)
    what = f"port {port} is taken" if port else "one of its ports is taken"
    return PortError(
        f"services.{service}: {what}{f' by {holder}' if holder else ''}",
        hint="Free it and try again, or run `moorage up`, which leases another port.",
        service=service,
        port=port,
        holder=holder,
    )


def all_facts(world: World, stack: str, services: Sequence[str]) -> tuple[PortFacts, ...]:
    """The same of each port that a stack leases for some services (none named: all)."""
    leases = _chosen(world.store.leases(stack), stack, services)
    return tuple(facts(world, port, one.key.protocol, one.host_ip) for one in leases for port in one.ports)


def stats(world: World) -> PortStats:
    """How many ports are leased and in use, by whom, and which ones are wanted most."""
    leases, published = world.store.leases(), world.engine.published_ports()
    leased = [(port, lease) for lease in leases for port in lease.ports]
    of_setting = port_range(world.settings.port_range)
    wanted = Counter(lease.wanted for lease in leases if lease.wanted)
    moved = Counter(lease.wanted for lease in leases if lease.wanted and lease.wanted not in lease.ports)
    most = [WantedPort(port=port, wanted=n, moved=moved[port]) for port, n in wanted.items() if n > 1 or moved[port]]
    return PortStats(
        first=of_setting.start,
        last=of_setting.stop - 1,
        in_range=sum(port in of_setting for port, _ in leased),
        leased=len(leased),
        published=sum((port, lease.key.protocol) in published for port, lease in leased),
        by_stack=dict(sorted(Counter(lease.key.stack for _, lease in leased).items())),
        most_wanted=tuple(sorted(most, key=lambda one: (-one.wanted, -one.moved, one.port))[:_MOST_WANTED]),
    )


def _chosen(leases: Sequence[Lease], stack: str, which: Sequence[str]) -> tuple[Lease, ...]:
    """Leases by service or host port. Raises DefinitionError for what names none."""
    found = {}
    for word in which:
        named = [i for i in leases if word == i.key.service or (word.isdecimal() and int(word) in i.ports)]
        if not named:
            there = ", ".join(f"{lease.key.service} {lease.port}" for lease in leases) or "none"
            near = nearest(word, {lease.key.service for lease in leases})
            hint = f'Did you mean "{near}"?' if near else f"Leases: {there}."
            raise DefinitionError(f"{stack}: no lease for {word!r}", hint=hint, stack=stack)
        found.update({lease.key: lease for lease in named})
    return tuple(found.values()) if which else tuple(leases)


def port_of(text: str) -> tuple[int, Protocol]:
    """`8000` or `53/udp`. Raises DefinitionError."""
    number, _, protocol = text.partition("/")
    if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= HIGHEST):
        raise DefinitionError(
            f"{text!r} is not a valid port", hint=f"Give a number from 1 to {HIGHEST}, with /udp for UDP."
        )
    match protocol or "tcp":
        case "tcp" | "udp" | "sctp" as known:
            return int(number), known
    raise DefinitionError(f"{text!r}: {protocol!r} is not a valid protocol", hint="Use tcp, udp or sctp.")
