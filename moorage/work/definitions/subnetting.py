"""Leases the subnets of a stack's networks, and addresses in them, by what is on the engine and where routes lead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from moorage.interfaces import World
from moorage.model.definition import Config, Service
from moorage.model.lease import AddressLease, SubnetLease
from moorage.model.state import Observed
from moorage.rules import kept_addresses, subnets


def lease(
    world: World,
    config: Config,
    services: Mapping[str, Service],
    observed: Observed,
    refused: Collection[str] = (),
) -> tuple[SubnetLease, ...]:
    """Lease a subnet for each network that Compose is to create of this project; gives all that the stack has.

    `observed`: of its stack, not from before a network was created. `refused`: subnets that the engine did not take.
    """
    return world.store.settle_subnets(observed.stack, _chooser(world, config, services, observed, refused))


def _chooser(
    world: World, config: Config, services: Mapping[str, Service], observed: Observed, refused: Collection[str]
) -> Callable[[Collection[SubnetLease]], tuple[SubnetLease, ...]]:
    stack, ranges = observed.stack, subnets.ranges_of(world.settings.subnets)
    names = subnets.left_to_the_engine(config)
    routes = (*world.prober.routes(), *refused) if ranges and names else ()

    def choose(on_record: Collection[SubnetLease]) -> tuple[SubnetLease, ...]:
        prefix, now = subnets.prefix_for(services), world.clock.now()
        return subnets.settle(stack, names, on_record, observed.subnets, routes, ranges, prefix, now)

    return choose


def lease_addresses(
    world: World,
    config: Config,
    services: Mapping[str, Service],
    observed: Observed,
    leased: Collection[SubnetLease],
) -> None:
    """Lease an address for each service that keeps one, in the subnets that are leased. Raises DefinitionError."""
    known = world.store.addresses(observed.stack)
    wanted = _addresses(world, config, services, observed, leased, known)
    if set(wanted) != set(known):
        world.store.save_addresses(observed.stack, wanted)


def check_addresses(world: World, config: Config, services: Mapping[str, Service], observed: Observed) -> None:
    """Raises DefinitionError: a service cannot keep its address. Stores nothing."""
    if any(one.address_kept for one in services.values()):
        leased = _chooser(world, config, services, observed, ())(world.store.subnets())
        _addresses(world, config, services, observed, leased, world.store.addresses(observed.stack))


def _addresses(
    world: World,
    config: Config,
    services: Mapping[str, Service],
    observed: Observed,
    leased: Collection[SubnetLease],
    known: Collection[AddressLease],
) -> tuple[AddressLease, ...]:
    config = subnets.with_subnets(config, leased)
    return kept_addresses.settle(observed.stack, config, services, known, observed, world.clock.now())
