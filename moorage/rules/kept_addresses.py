"""`x-moorage.address: keep`: a service has the same address on the networks of its stack each time it is made.

Engines give containers addresses from the bottom of a subnet; these come from its top, so that nobody gets one while
its service is away. Only in subnets that are chosen beforehand, by the file or by a lease: an engine takes no wishes in
those that it has chosen itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from moorage.errors import DefinitionError
from moorage.model.definition import Config, Service
from moorage.model.lease import AddressLease
from moorage.model.state import Observed

_DRIVERS = (None, "", "bridge", "default", "macvlan", "ipvlan")


class Place(NamedTuple):
    """A service on a network of its stack."""

    service: str
    key: str
    """Of the network in the file."""
    network: str
    """Its name on the engine."""


def places(config: Config, services: Mapping[str, Service]) -> Iterator[Place]:
    """Where services keep an address. Raises DefinitionError: one of them is on no network where it can."""
    known = config.get("networks") or {}
    for name, service in services.items():
        if not service.address_kept or name not in config["services"]:
            continue
        attached = config["services"][name].get("networks") or {}
        usable = [key for key in attached if _can_keep(known.get(key) or {})]
        if not usable:
            message = f"{_where(name)}: it is on no network of its stack"
            hint = "Addresses are kept on networks that the stack itself creates, of the driver bridge, with IPv4."
            raise DefinitionError(message, service=name, key=_where(name), hint=hint)
        for key in usable:
            if not (attached[key] or {}).get("ipv4_address"):  # what the file says counts
                yield Place(name, key, known[key]["name"])


def _where(service: str) -> str:
    return f"services.{service}.x-moorage.address"


def _can_keep(network: Config) -> bool:
    own = bool(network) and not network.get("external") and network.get("enable_ipv4") is not False
    return own and network.get("driver") in _DRIVERS


def settle(
    stack: str,
    config: Config,
    services: Mapping[str, Service],
    on_record: Collection[AddressLease],
    observed: Observed,
    now: datetime,
) -> tuple[AddressLease, ...]:
    """All leases of a stack, with one for each place in the project as it is to be created, its subnets in it.

    What is on record stays until it is released, also of subnets that a network no longer has: an undo may bring them
    back. Raises DefinitionError: the engine chooses the subnet, or no address is left.
    """
    found = {(one.service, one.network, one.subnet): one for one in on_record}
    for place in places(config, services):
        pool = _pool(config, place)
        key = (place.service, place.network, pool["subnet"])
        if key in found:
            continue
        others = {one.address for one in found.values() if one.network == place.network}
        taken = others | _reserved(config, place, pool) | _used(observed, place.service)
        address = _as_it_is(place, pool, observed, others) or _highest_free(pool["subnet"], taken)
        if address is None:
            message = f"{_where(place.service)}: no address is left on network {place.network} ({pool['subnet']})"
            raise DefinitionError(message, service=place.service, hint="Give the network a larger subnet (`ipam`).")
        found[key] = AddressLease(
            stack=stack,
            service=place.service,
            network=place.network,
            subnet=pool["subnet"],
            address=address,
            since=now,
        )
    return tuple(sorted(found.values(), key=lambda one: (one.network, one.service, one.subnet)))


def _pool(config: Config, place: Place) -> Config:
    """The first IPv4 subnet that is chosen for the network. Raises DefinitionError: there is none."""
    pools = ((config["networks"][place.key].get("ipam") or {}).get("config")) or ()
    for pool in pools:
        if "." in (pool.get("subnet") or ""):  # not of IPv6
            return dict(pool)
    raise DefinitionError(
        f"{_where(place.service)}: the engine chose the subnet of network {place.network}",
        service=place.service,
        key=_where(place.service),
        hint="`moorage down`, then `moorage up` gives it one of MOORAGE_SUBNETS; or give it one in the file (`ipam`).",
    )


def _reserved(config: Config, place: Place, pool: Config) -> set[str]:
    """Addresses that the file gives to others, the gateway's, and those that devices beside the containers have."""
    named = {pool.get("gateway"), *(pool.get("aux_addresses") or {}).values()}
    for service in config["services"].values():
        named.add(((service.get("networks") or {}).get(place.key) or {}).get("ipv4_address"))
    return {one for one in named if one}


def _used(observed: Observed, service: str) -> set[str]:
    return {address for one in observed.containers if one.service != service for address in one.addresses}


def _as_it_is(place: Place, pool: Config, observed: Observed, others: Collection[str]) -> str | None:
    """The address that it has, if it looks like one of ours: the registry may have been lost."""
    subnet = IPv4Network(pool["subnet"], strict=False)
    middle = subnet.network_address + subnet.num_addresses // 2
    for container in observed.of(place.service):
        for address in container.addresses:
            if _within(address, subnet) and IPv4Address(address) >= middle and address not in others:
                return address
    return None


def _within(address: str, subnet: IPv4Network) -> bool:
    try:
        return IPv4Address(address) in subnet
    except ValueError:  # IPv6
        return False


def _highest_free(subnet: str, taken: Collection[str]) -> str | None:
    """The first address is left to the gateway."""
    network = IPv4Network(subnet, strict=False)
    first, last = int(network.network_address) + 2, int(network.broadcast_address) - 1
    free = (str(IPv4Address(number)) for number in range(last, first - 1, -1))
    return next((address for address in free if address not in taken), None)


def with_addresses(config: Config, services: Mapping[str, Service], leases: Iterable[AddressLease]) -> Config:
    """The project with the leased addresses, for Compose. One in another subnet than the network has is left out."""
    kept = {(one.service, one.network, one.subnet): one.address for one in leases}
    chosen: dict[str, dict[str, str]] = {}
    for place in places(config, services) if kept else ():
        pools = ((config["networks"][place.key].get("ipam") or {}).get("config")) or ()
        subnets = (pool["subnet"] for pool in pools if pool.get("subnet"))
        found = (kept.get((place.service, place.network, subnet)) for subnet in subnets)
        if address := next(filter(None, found), None):
            chosen.setdefault(place.service, {})[place.key] = address
    if not chosen:
        return config
    made = {name: _with(config["services"][name], addresses) for name, addresses in chosen.items()}
    return {**config, "services": {**config["services"], **made}}


def _with(service: Config, addresses: Mapping[str, str]) -> Config:
    networks = {
        key: {**(how or {}), "ipv4_address": addresses[key]} if key in addresses else how
        for key, how in service["networks"].items()
    }
    return {**service, "networks": networks}
