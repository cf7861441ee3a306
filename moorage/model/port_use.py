"""Use of host ports: who holds them, how many are in use."""

from __future__ import annotations

from moorage.model.base import Frozen
from moorage.model.definition import Protocol
from moorage.model.lease import Lease


class PortFacts(Frozen):
    """Current state of a host port."""

    port: int
    protocol: Protocol
    lease: Lease | None = None
    """None: nobody leases it."""
    container: str | None = None
    """The running container that publishes it, of any stack. None: there is none."""
    process: str | None = None
    """The process that has it open, `nginx (pid 4711)`. None: none, or it cannot be read."""
    bindable: bool
    """True: nothing listens on it."""
    moved: tuple[Lease, ...] = ()
    """Leases whose services wanted this port and got another."""


class WantedPort(Frozen):
    """A host port that services ask for."""

    port: int
    wanted: int
    """Number of leases of services that want it."""
    moved: int
    """How many of those got another port."""


class PortStats(Frozen):
    """How host ports are used."""

    first: int
    last: int
    """The setting `port_range`, both ends included: the range for ports that nobody chooses."""
    in_range: int
    """How many ports of the range are leased."""
    leased: int
    """How many ports are leased, in the range or not."""
    published: int
    """How many of them the engine publishes now."""
    by_stack: dict[str, int]
    most_wanted: tuple[WantedPort, ...]
    """Wanted by several, or moved: the most wanted first."""
