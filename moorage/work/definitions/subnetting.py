"""Leases the subnets of a stack's networks, by what is on the engine and where this machine has routes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moorage.interfaces import World
from moorage.model.definition import Config, Service
from moorage.model.lease import SubnetLease
from moorage.model.state import Observed
from moorage.rules import subnets


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
    stack, ranges = observed.stack, subnets.ranges_of(world.settings.subnets)
    names = subnets.left_to_the_engine(config)
    routes = (*world.prober.routes(), *refused) if ranges and names else ()

    def choose(on_record: Collection[SubnetLease]) -> tuple[SubnetLease, ...]:
        prefix, now = subnets.prefix_for(services), world.clock.now()
        return subnets.settle(stack, names, on_record, observed.subnets, routes, ranges, prefix, now)

    return world.store.settle_subnets(stack, choose)
