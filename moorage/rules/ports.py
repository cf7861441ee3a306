"""Which host port a service gets. Pure: what is leased, published and bindable is passed in as a `PortView`.

    the lease it has                    kept even if the port is busy: with our own containers
    else that of a predecessor          a mapping of the same stack that is gone and wanted the same (a renamed service)
    else the wanted port                if nobody leases it, the engine does not publish it and it can be bound
    else the next one upward            inside a wanted range first; then to 65535; then from 1024 upward

Replicas get consecutive ports; inside a wanted range, where no block of them is free, any that are.

Ports that browsers refuse, and ports that other requests of the same call want, are skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from heapq import merge
from itertools import chain
from typing import NamedTuple, Protocol

from moorage.errors import PortError
from moorage.model.lease import Lease, LeaseKey, Request

LOOPBACK = "127.0.0.1"
HIGHEST = 65535
LOWEST_UNPRIVILEGED = 1024
BAD_PORTS = frozenset(
    {1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110}
    | {111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531}
    | {532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190}
    | {5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)
"""Ports that browsers refuse to open (WHATWG Fetch, "bad port")."""
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  compared with, never bound to


class Holder(NamedTuple):
    """The holder of one leased port. Lightweight, because a search looks at hundreds."""

    stack: str
    service: str
    target: int
    protocol: str
    slot: int
    host_ip: str

    def same_key(self, key: LeaseKey) -> bool:
        """True if this is the key's own lease."""
        return self.container_port == container_port(key) and self.slot == key.slot

    @property
    def container_port(self) -> tuple[str, str, int, str]:
        """(stack, service, target, protocol): all mappings of one port of a service."""
        return self[:4]

    def shares_with(self, request: Request) -> bool:
        """True for the same container port on another address, by another mapping (127.0.0.1:80, [::1]:80)."""
        key, addresses = request.key, {self.host_ip, address_of(request)}
        same_port = self.container_port == container_port(key) and self.slot != key.slot
        return same_port and len(addresses) > 1 and not addresses & _WILDCARDS

    def __str__(self) -> str:
        return f'service "{self.service}" of stack "{self.stack}"'


def container_port(key: LeaseKey) -> tuple[str, str, int, str]:
    """(stack, service, target, protocol) of a lease."""
    return key.stack, key.service, key.target, key.protocol


class Leased(Protocol):
    """Who leases which port. A search asks for few of them, however many there are."""

    def holders(self, port: int, protocol: str) -> Sequence[Holder]:
        """Of one port; the same one may be named twice."""

    def unleased(self, span: range, protocol: str) -> Iterable[int]:
        """The ports of a span that nobody leases, the lowest first; there may be others among them."""

    def ports_of(self, key: LeaseKey) -> Iterable[int]:
        """The ports of all leases of a container port, whatever their slot."""


class KnownLeases(Leased):
    """Leases that are in memory, and those `before` them."""

    def __init__(self, before: Leased | None = None) -> None:
        """`before` None: there are no others."""
        self._before = before
        self._holders: dict[tuple[int, str], list[Holder]] = {}
        self._ports: dict[tuple[str, str, int, str], set[int]] = {}

    def add(self, lease: Lease) -> None:
        """One more."""
        self.hold(holder(lease), lease.ports)

    def hold(self, held_by: Holder, ports: Iterable[int]) -> None:
        """The same, without a model of it."""
        ports = tuple(ports)
        self._ports.setdefault(held_by.container_port, set()).update(ports)
        for port in ports:
            self._holders.setdefault((port, held_by.protocol), []).append(held_by)

    def holders(self, port: int, protocol: str) -> Sequence[Holder]:
        """As there."""
        before = self._before.holders(port, protocol) if self._before else ()
        return (*before, *self._holders.get((port, protocol), ()))

    def unleased(self, span: range, protocol: str) -> Iterable[int]:
        """As there, without others."""
        before = self._before.unleased(span, protocol) if self._before else span
        return (port for port in before if (port, protocol) not in self._holders)

    def ports_of(self, key: LeaseKey) -> Iterable[int]:
        """As there."""
        before = self._before.ports_of(key) if self._before else ()
        return {*before, *self._ports.get(container_port(key), ())}


def _nobody(_port: int, _protocol: str) -> str | None:
    return None


@dataclass(frozen=True)
class PortView:
    """Everything known about the machine's ports when choosing one."""

    bindable: Callable[[int, str, str], bool]
    """(port, protocol, host address) → whether nothing listens there."""
    leased: Leased = field(default_factory=KnownLeases)
    taken: frozenset[tuple[int, str]] = frozenset()
    """(port, protocol) that the engine publishes."""
    any_port: range = range(20000, 30000)
    """Range for ports if no particular one is wanted."""
    strict: bool = False
    """True: the wanted port or an error."""
    process_at: Callable[[int, str], str | None] = _nobody
    """The process that holds (port, protocol), for error messages. None: it cannot be read."""


@dataclass(frozen=True)
class LeaseChange:
    """A lease on record, and the committed one that it replaces while its run is unfinished (None: it is new)."""

    lease: Lease
    previous: Lease | None = None

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Both leases: the key keeps the ports of both until the run has ended."""
        return (self.lease,) if self.previous is None else (self.lease, self.previous)

    @property
    def restored(self) -> LeaseChange | None:
        """The lease that remains when the run is undone. None: nothing, it was new."""
        return LeaseChange(self.previous) if self.previous else None

    @property
    def given_back(self) -> bool:
        """True if undoing the run frees a port."""
        return self.previous is None or not set(self.lease.ports) <= set(self.previous.ports)


def port_range(text: str) -> range:
    """The setting `port_range`, `20000-29999`, as a range of ports."""
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)


def address_of(request: Request) -> str:
    """The address that the port is bound to."""
    return LOOPBACK if request.host_ip is None else request.host_ip


def holder(lease: Lease) -> Holder:
    """The holder of a lease."""
    key = lease.key
    return Holder(key.stack, key.service, key.target, key.protocol, key.slot, lease.host_ip)


def allocate(
    requests: Sequence[Request],
    held: Mapping[LeaseKey, LeaseChange],
    market: PortView,
    run: str | None,
    now: datetime,
    *,
    complete: bool = False,
) -> tuple[LeaseChange, ...]:
    """A lease change for each request, in order; the arguments are not modified. Raises PortError.

    Requests that cannot move (`fixed`) choose first, and no request moves to a port that another one wants. `complete`:
    these are all requests of their stack, so its other leases can be inherited: a change whose `previous` has another
    key replaces that lease.
    """
    inherited = _inherited(requests, held) if complete else {}
    wanted = {request.key: _wanted_ports(request) for request in requests}
    of_all = Counter(chain.from_iterable(wanted.values()))
    leased = KnownLeases(market.leased)
    market = replace(market, leased=leased)
    chosen: dict[LeaseKey, LeaseChange] = {}
    for request in sorted(requests, key=lambda request: not request.fixed):
        own = chosen.get(request.key) or held.get(request.key) or inherited.get(request.key)
        others = _OfOthers(of_all, wanted[request.key])
        found = choose(request, own.lease if own else None, market, others)
        chosen[request.key] = _holding(request, own, found, run, now)
        leased.add(chosen[request.key].lease)
    return tuple(chosen[request.key] for request in requests)


@dataclass(frozen=True)
class _OfOthers(Container[tuple[int, str]]):
    """(port, protocol) that other requests want."""

    of_all: Counter[tuple[int, str]]
    own: frozenset[tuple[int, str]]

    def __contains__(self, port: object) -> bool:
        return self.of_all[port] > (port in self.own)  # type: ignore[index]


def _inherited(requests: Sequence[Request], held: Mapping[LeaseKey, LeaseChange]) -> dict[LeaseKey, LeaseChange]:
    """For mappings without a lease: a suitable lease that their stack no longer requests.

    If there are several, the one of the same service. Leases that a run has moved but not committed are left alone.
    """
    asked = {request.key for request in requests}
    free = {key: holding for key, holding in held.items() if key not in asked and holding.lease.run is None}
    found: dict[LeaseKey, LeaseChange] = {}
    for request in (request for request in requests if request.key not in held and request.wanted is not None):
        fitting = [key for key, holding in free.items() if _could_succeed(request, holding.lease)]
        if fitting:
            heir_of = min(fitting, key=lambda key: (key.service != request.key.service, key.target, key.slot))
            found[request.key] = free.pop(heir_of)
    return found


def _could_succeed(request: Request, lease: Lease) -> bool:
    same_place = (lease.key.stack, lease.key.protocol) == (request.key.stack, request.key.protocol)
    return same_place and lease.wanted == request.wanted and _still_right(request, lease, strict=False)


def compatible(leases: Iterable[Lease], held: Iterable[LeaseChange]) -> tuple[Lease, ...]:
    """Those leases that can be recorded next to the held ones: none for a key or a port that is already leased."""
    leased = KnownLeases()
    keys = set()
    for lease in chain.from_iterable(holding.leases for holding in held):
        keys.add(lease.key)
        leased.add(lease)
    fitting = []
    for lease in leases:
        wanted = Request(key=lease.key, count=lease.count, host_ip=lease.host_ip)
        others = chain.from_iterable(leased.holders(port, lease.key.protocol) for port in lease.ports)
        if lease.key not in keys and all(other.shares_with(wanted) for other in others):
            keys.add(lease.key)
            leased.add(lease)
            fitting.append(lease)
    return tuple(fitting)


def in_place_of(leases: Iterable[Lease], held: Mapping[LeaseKey, LeaseChange]) -> tuple[LeaseChange, ...]:
    """Those leases of a run that can take the place of what their keys hold, which is given back when it is undone."""
    leases = tuple(leases)
    keys = {lease.key for lease in leases}
    others = [holding for key, holding in held.items() if key not in keys]
    return tuple(LeaseChange(lease, _committed(held.get(lease.key))) for lease in compatible(leases, others))


def _committed(holding: LeaseChange | None) -> Lease | None:
    if holding is None:
        return None
    return holding.lease if holding.lease.run is None else holding.previous


def choose(
    request: Request, own: Lease | None, market: PortView, avoid: Container[tuple[int, str]] = frozenset()
) -> tuple[int, ...]:
    """`request.count` host ports, in order.

    `own` is the lease of the key, if it has one. `avoid` are ports that others want, to be used only if wanted here.
    Raises PortError: the wanted port is not free and the request is `fixed` or strict, or no port is free at all.
    """
    strict = request.fixed or market.strict
    if own is not None and _still_right(request, own, strict=strict):
        return own.ports[: request.count]

    @cache
    def free(port: int) -> bool:
        return _is_free(port, request, own, market)

    def scattered() -> tuple[int, ...]:
        """Any free ports of the wanted range, those that it has first; empty: there are too few."""
        span = _wanted_span(request) if request.count > 1 else ()
        kept = own.ports if own is not None else ()
        fitting = [port for port in span if free(port) and (port in kept or not _passed_over(port, request, avoid))]
        first = sorted(fitting, key=lambda port: (port not in kept, port))[: request.count]
        return tuple(sorted(first)) if len(first) == request.count else ()

    tried = False
    for start in _candidates(request, own, market, avoid, strict=strict):
        if not tried and request.wanted_last and start + request.count - 1 > request.wanted_last:
            tried = True
            if found := scattered():
                return found
        if all(free(port) for port in range(start, start + request.count)):
            return tuple(range(start, start + request.count))
    if not tried and (found := scattered()):
        return found
    raise (strict and _held_by_another(request, own, market)) or _none_free(request, market)


def _still_right(request: Request, own: Lease, *, strict: bool) -> bool:
    """True if the lease fits, and the request has not changed or the lease fulfils it anyway."""
    fits = own.count >= request.count and own.host_ip == address_of(request)
    return fits and (_all_fulfil(own.ports, request) or (own.wanted == request.wanted and not strict))


def _fulfils(port: int, request: Request) -> bool:
    return request.wanted is None or port in _wanted_starts(request.wanted, request)


def _all_fulfil(ports: Sequence[int], request: Request) -> bool:
    """True for a block that begins where it may, and for any ports of the wanted range."""
    used, span = ports[: request.count], _wanted_span(request)
    if all(port in span for port in used):
        return True
    return used[-1] - used[0] < request.count and _fulfils(used[0], request)


def _wanted_starts(wanted: int, request: Request) -> range:
    """First ports that fulfil the request: the wanted one, or as many as fit into the wanted range."""
    last = wanted if request.wanted_last is None else request.wanted_last - request.count + 1
    return range(wanted, max(wanted, last) + 1)


def _wanted_span(request: Request) -> range:
    """All ports of a wanted range; empty: no range is wanted."""
    if request.wanted is None or request.wanted_last is None:
        return range(0)
    return range(request.wanted, request.wanted_last + 1)


def _wanted_ports(request: Request) -> frozenset[tuple[int, str]]:
    if request.wanted is None:
        return frozenset()
    return frozenset((port, request.key.protocol) for port in range(request.wanted, request.wanted + request.count))


def _candidates(
    request: Request, own: Lease | None, market: PortView, avoid: Container[tuple[int, str]], *, strict: bool
) -> Iterator[int]:
    """Candidates for the first port, best first."""
    wanted, end = request.wanted, HIGHEST - request.count + 2
    if own is not None and own.port < end and (_fulfils(own.port, request) or (own.wanted == wanted and not strict)):
        yield own.port
    if wanted is not None and wanted < end:
        yield wanted
    further: tuple[range, ...]
    if wanted is None:
        further = (range(market.any_port.start, min(market.any_port.stop - request.count + 1, end)),)
    elif strict:
        further = (range(wanted + 1, min(_wanted_starts(wanted, request).stop, end)),)
    else:
        further = (range(wanted + 1, end), range(LOWEST_UNPRIVILEGED, min(wanted, end)))
    for start in chain.from_iterable(_perhaps_free(span, request, market.leased) for span in further):
        if not any(_passed_over(port, request, avoid) for port in range(start, start + request.count)):
            yield start


def _perhaps_free(span: range, request: Request, leased: Leased) -> Iterator[int]:
    """What nobody leases, and what the container port itself has on this address or another one; lowest first."""
    own = sorted(port for port in leased.ports_of(request.key) if port in span)
    return merge(leased.unleased(span, request.key.protocol), own)


def _passed_over(port: int, request: Request, avoid: Container[tuple[int, str]]) -> bool:
    asked_for = request.wanted is not None and request.wanted_last is not None and port <= request.wanted_last
    return (port, request.key.protocol) in avoid or (port in BAD_PORTS and not asked_for)


def _is_free(port: int, request: Request, own: Lease | None, market: PortView) -> bool:
    protocol = request.key.protocol
    holders = market.leased.holders(port, protocol)
    if any(_in_the_way(other, request) for other in holders):
        return False
    if holders or (own is not None and port in own.ports):
        return True  # already ours, so what listens there is ours too
    return (port, protocol) not in market.taken and market.bindable(port, protocol, address_of(request))


def _in_the_way(other: Holder, request: Request) -> bool:
    return not other.same_key(request.key) and not other.shares_with(request)


def _holder_of(port: int, request: Request, market: PortView) -> str:
    """The holder of a port that is not free. Slow (it may scan all processes), so only used for errors."""
    protocol = request.key.protocol
    for other in market.leased.holders(port, protocol):
        if _in_the_way(other, request):
            return str(other)
    published = (port, protocol) in market.taken
    return market.process_at(port, protocol) or ("a container on this engine" if published else "another process")


def _held_by_another(request: Request, own: Lease | None, market: PortView) -> PortError | None:
    """The error that names the holder of the wanted port. None: it is free, or no particular port is wanted."""
    key = request.key
    for port, protocol in sorted(_wanted_ports(request)):
        if not _is_free(port, request, own, market):
            obstacle = _holder_of(port, request, market)
            return PortError(
                f"services.{key.service}.ports: port {port}/{protocol} is held by {obstacle}",
                hint=_advice(request),
                port=port,
                service=key.service,
                target=key.target,
                holder=obstacle,
            )
    return None


def _advice(request: Request) -> str:
    if request.fixed:
        return "Free the port, or choose another one: with the host's network it cannot be moved."
    return "Free the port, choose another, or leave out --strict-ports to get the next free one."


def _none_free(request: Request, market: PortView) -> PortError:
    kind = "ports" if request.wanted_last else "consecutive ports"
    many = f"no {request.count} {kind} are" if request.count > 1 else "no port is"
    if request.wanted is None:
        where = f"free in {market.any_port.start}-{market.any_port.stop - 1}"
        hint = "Release some (`moorage ports release`, after `moorage down`), or widen MOORAGE_PORT_RANGE."
    else:
        where = f"free from {request.wanted} upward"
        hint = "Release some (`moorage ports release`, after `moorage down`), or choose a lower port."
    return PortError(
        f"services.{request.key.service}.ports: {many} {where} ({request.key.protocol})",
        hint=hint,
        port=request.wanted,
        service=request.key.service,
        target=request.key.target,
    )


def _holding(
    request: Request, own: LeaseChange | None, chosen: Sequence[int], run: str | None, now: datetime
) -> LeaseChange:
    """The lease change after a choice; it keeps the committed lease, in case the run is undone."""
    stays = own is not None and own.lease.port == chosen[0]
    lease = Lease(
        key=request.key,
        port=chosen[0],
        skipped=tuple(port for port in range(chosen[0], chosen[-1]) if port not in chosen),
        count=request.count,
        wanted=request.wanted,
        host_ip=address_of(request),
        since=own.lease.since if own and stays else now,
        run=run,
    )
    if own is None or run is None:
        return LeaseChange(lease)
    if own.lease.run is not None:
        # Left by an unfinished run, or just created by this one: now it belongs to this run.
        return LeaseChange(lease, own.previous)
    if own.lease == lease.model_copy(update={"run": None}):
        return own
    return LeaseChange(lease, own.lease)
