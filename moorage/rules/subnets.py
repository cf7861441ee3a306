"""Which subnet a network gets: small ones out of a range of ours, so that many networks fit one engine.

The engine's own pools end after about 30 networks. What is leased is kept while nothing else is in its place, as with
ports. A network that is there already stays as it is: with another subnet, Compose would make it again.

    it is there, with a subnet of ours    that one, also if no lease is on record
    it is there, with another one         none: the engine chose it
    it is not there, and has a lease      the same again, if it is free and large enough
    else                                  the first free one of the range; where none is free, the engine chooses
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network

from moorage.model.definition import Config, Service
from moorage.model.lease import SubnetLease

_BRIDGES = (None, "", "bridge", "default")
_SMALLEST = 26
"""Prefix length: 61 containers."""
_LARGEST = 16
_SPARE = 3
"""So many times the containers of today: a network keeps its subnet when services are scaled."""
_NOT_FOR_CONTAINERS = 3
"""The address of the subnet, its broadcast address and the gateway's."""
_LEAST_PREFIX = 8
"""Routes to more than that are those to everywhere: the default route, or its halves, which VPNs write instead."""
_OVERLAP = re.compile(
    r"[Pp]ool overlaps with other one|networks have (?:overlapping|same)|subnet \S+ is already used on the host"
)
"""What Docker (libnetwork) and Podman (netavark) say of a subnet that is in use."""

Range = tuple[int, int]
"""First and last address."""


def ranges_of(text: str) -> tuple[IPv4Network, ...]:
    """The setting `subnets`, `10.201.0.0/16,198.18.0.0/15`."""
    return tuple(IPv4Network(part.strip()) for part in text.split(",") if part.strip())


def left_to_the_engine(config: Config) -> tuple[str, ...]:
    """Names of the networks that Compose creates and whose subnet the file leaves open."""
    services = config["services"].values()
    used = {key for service in services for key in service.get("networks") or {}}
    return tuple(
        sorted(
            network["name"]
            for key, network in (config.get("networks") or {}).items()
            if key in used and network and _is_open(network)
        )
    )


def _is_open(network: Config) -> bool:
    ipam = network.get("ipam") or {}
    alone = not network.get("external") and not network.get("enable_ipv6") and network.get("enable_ipv4") is not False
    return alone and network.get("driver") in _BRIDGES and not ipam.get("config") and ipam.get("driver") in _BRIDGES


def prefix_for(services: Mapping[str, Service]) -> int:
    """Prefix length of a subnet that has room for all of them on one network, and for more."""
    addresses = _SPARE * sum(one.replicas for one in services.values()) + _NOT_FOR_CONTAINERS
    return max(_LARGEST, min(_SMALLEST, 32 - (addresses - 1).bit_length()))


def settle(
    stack: str,
    networks: Sequence[str],
    on_record: Collection[SubnetLease],
    there: Mapping[str, Sequence[str]],
    routes: Collection[str],
    ranges: Sequence[IPv4Network],
    prefix: int,
    now: datetime,
) -> tuple[SubnetLease, ...]:
    """The leases of a stack for these of its networks.

    `on_record`: the leases of all stacks. `there`: name → subnets of every network on the engine. `routes`: subnets
    that lead elsewhere. Leases of networks that the stack no longer has are not among the result.
    """
    held = {lease.network: lease for lease in on_record if lease.stack == stack}
    others = [lease.subnet for lease in on_record if lease.stack != stack]
    elsewhere = [one for name, subnets in there.items() if name not in networks for one in subnets]
    taken = [*elsewhere, *routes, *(one for name in networks for one in there.get(name, ()))]
    chosen = {name: subnet for name in networks if (subnet := _as_it_is(name, held, there, ranges))}
    missing = [name for name in networks if name not in there]
    for name in missing:
        old = held.get(name)
        if old and IPv4Network(old.subnet).prefixlen <= prefix and not _overlaps(old.subnet, taken):
            chosen[name] = old.subnet
            taken.append(old.subnet)
    taken += others
    for name in missing:
        if name not in chosen and (free := _first_free(ranges, prefix, taken)):
            chosen[name] = free
            taken.append(free)
    return tuple(
        held[name]
        if name in held and held[name].subnet == subnet
        else SubnetLease(stack=stack, network=name, subnet=subnet, since=now)
        for name, subnet in sorted(chosen.items())
    )


def _as_it_is(
    name: str,
    held: Mapping[str, SubnetLease],
    there: Mapping[str, Sequence[str]],
    ranges: Sequence[IPv4Network],
) -> str | None:
    """The subnet of a network that is there, if it has it from us. None: not there, or the engine chose it."""
    subnets = there.get(name, ())
    if len(subnets) != 1:
        return None
    leased = name in held and held[name].subnet == subnets[0]
    return subnets[0] if leased or _is_within(subnets[0], ranges) else None


def with_subnets(config: Config, leases: Iterable[SubnetLease]) -> Config:
    """The project with the leased subnets, for Compose."""
    subnets = {lease.network: lease.subnet for lease in leases}
    named = set(left_to_the_engine(config)) & set(subnets)
    if not named:
        return config
    networks = {
        key: {**network, "ipam": {**(network.get("ipam") or {}), "config": [{"subnet": subnets[network["name"]]}]}}
        if network and network.get("name") in named
        else network
        for key, network in config["networks"].items()
    }
    return {**config, "networks": networks}


def is_overlap(words: str) -> bool:
    """True if the engine refused a subnet because something else has it."""
    return bool(_OVERLAP.search(words))


def _first_free(ranges: Sequence[IPv4Network], prefix: int, taken: Iterable[str]) -> str | None:
    size = 1 << (32 - prefix)
    used = sorted(_of(taken))
    for one in ranges:
        first, last = int(one.network_address), int(one.broadcast_address)
        for low, high in used:
            if high < first:
                continue
            if low > first + size - 1:
                break
            first = (high // size + 1) * size
        if first + size - 1 <= last:
            return str(IPv4Network((first, prefix)))
    return None


def _of(subnets: Iterable[str]) -> Iterator[Range]:
    """Those of IPv4 that are narrower than a route to everywhere."""
    for text in subnets:
        try:
            found = IPv4Network(text, strict=False)
        except ValueError:
            continue
        if found.prefixlen >= _LEAST_PREFIX:
            yield int(found.network_address), int(found.broadcast_address)


def _overlaps(subnet: str, taken: Iterable[str]) -> bool:
    ((low, high),) = _of([subnet])
    return any(low <= last and first <= high for first, last in _of(taken))


def _is_within(subnet: str, ranges: Sequence[IPv4Network]) -> bool:
    own = list(_of(map(str, ranges)))
    return any(first <= low and high <= last for low, high in _of([subnet]) for first, last in own)
