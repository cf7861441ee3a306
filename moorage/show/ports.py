"""Text about host ports and who holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moorage.model.lease import Lease
from moorage.model.port_use import PortFacts, PortStats
from moorage.show.formatting import clean, host_port, table


def facts_text(facts: Sequence[PortFacts]) -> str:
    """Leased ports, one per line: address, service, current holder."""
    if not facts:
        return "no ports leased"
    rows = [
        (
            one.lease.key.service if one.lease else "-",
            f"{one.lease.key.target}/{one.protocol}" if one.lease else "-",
            host_port(one.lease.host_ip if one.lease else "", one.port),
            str(one.lease.wanted) if one.lease and one.lease.wanted not in (None, one.lease.port) else "-",
            _held_by(one),
        )
        for one in facts
    ]
    return table(("SERVICE", "PORT", "LEASED", "WANTED", "HELD BY"), rows)


def why_text(facts: PortFacts) -> str:
    """Everything that is known about one port."""
    return "\n".join(_why(facts))


def _why(facts: PortFacts) -> Iterator[str]:
    name = f"port {facts.port}/{facts.protocol}"
    if facts.lease is None and facts.container is None and facts.bindable:
        yield f"{name} is free"
    else:
        yield f"{name} is {'leased' if facts.lease else 'taken'}"
    if facts.lease:
        yield f"  lease:      {_whose(facts.lease)}, since {facts.lease.since:%Y-%m-%d %H:%M} UTC"
    if facts.container:
        yield f"  container:  {clean(facts.container)}"
    if facts.process:
        yield f"  process:    {clean(facts.process)}"
    if not facts.bindable and not facts.container and not facts.process:
        yield "  process:    some process listens on it; its name cannot be read (it belongs to another user)"
    if facts.lease and facts.bindable:
        yield "  nothing listens on it: it is kept for the stack's next start; `moorage ports release` releases it"
    for lease in facts.moved:
        yield f"  wanted by:  {_whose(lease)}, which got {lease.port}"


def stats_text(stats: PortStats) -> str:
    """How ports are used: totals, by stack, the most wanted."""
    size = stats.last - stats.first + 1
    share = 100 * stats.in_range / size
    lines = [
        f"leased     {stats.leased}, {stats.published} of them published now",
        f"any port   {stats.in_range} of {size} from {stats.first} to {stats.last} ({share:.1f} %)",
    ]
    if stats.by_stack:
        rows = [(stack, str(number)) for stack, number in stats.by_stack.items()]
        lines += ["", table(("STACK", "PORTS"), rows)]
    if stats.most_wanted:
        wanted = [(str(one.port), str(one.wanted), str(one.moved)) for one in stats.most_wanted]
        lines += ["", table(("WANTED PORT", "BY SERVICES", "GOT ANOTHER"), wanted)]
    return "\n".join(lines)


def _whose(lease: Lease) -> str:
    return f"{lease.key.stack}, {lease.key.service} {lease.key.target}/{lease.key.protocol}"


def _held_by(one: PortFacts) -> str:
    if one.container:
        return clean(one.container)
    return "nobody now" if one.bindable else clean(one.process or "another process")
