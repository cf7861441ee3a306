"""Networks of stacks on the real engine: small subnets of ours, kept, and away from what others have."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from docker.types import IPAMConfig, IPAMPool

from moorage.adapters.probes import SocketProber
from moorage.rules import subnets
from moorage.settings import Settings

pytestmark = pytest.mark.engine
ONE = """
    services:
      web: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s}
"""


def network(s):
    (found,) = s.client.networks.list(names=[f"{s.name}_default"])
    return found


def subnet(s):
    network(s).reload()
    return network(s).attrs["IPAM"]["Config"][0]["Subnet"]


async def test_a_subnet_of_ours_which_is_kept(stack):
    s = stack(ONE)
    await s.up()
    first, identity = subnet(s), network(s).id
    assert any(IPv4Network(first).subnet_of(one) for one in subnets.ranges_of(Settings().subnets))
    assert first in SocketProber().routes()
    s.compose(ONE.replace("sleep, infinity", "sleep, '1000'"))
    await s.up()
    assert network(s).id == identity
    await s.down()
    await s.up()
    assert subnet(s) == first


async def test_somebody_took_it_meanwhile(stack, stack_prefix):
    s = stack(ONE)
    await s.up()
    first = subnet(s)
    await s.down()
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=first)])
    s.client.networks.create(f"{stack_prefix}-foreign", ipam=pool, labels={"com.docker.compose.project": stack_prefix})
    await s.up()
    assert not IPv4Network(subnet(s)).overlaps(IPv4Network(first))
    assert [one.subnet for one in s.world.store.subnets(s.name)] == [subnet(s)]


async def test_a_network_that_the_engine_chose_stays(stack):
    """As an earlier version has left it."""
    s = stack(ONE)
    ours, s.world = s.world, replace(s.world, settings=s.world.settings.model_copy(update={"subnets": ""}))
    await s.up()
    chosen, identity = subnet(s), network(s).id
    assert not any(IPv4Network(chosen).subnet_of(one) for one in subnets.ranges_of(Settings().subnets))
    s.world = ours
    s.compose(ONE.replace("sleep, infinity", "sleep, '1000'"))
    await s.up()
    assert (subnet(s), network(s).id) == (chosen, identity)
    await s.down()
    await s.up()
    assert subnet(s) != chosen
