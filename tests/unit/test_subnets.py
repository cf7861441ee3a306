"""Which subnet a network gets, and how it gets into the file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moorage.adapters import probes
from moorage.model.definition import Service
from moorage.model.lease import SubnetLease
from moorage.rules import subnets
from moorage.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RANGES = subnets.ranges_of("10.9.0.0/24, 10.9.8.0/25")


def lease(network="a", subnet="10.9.0.0/26", stack="shop"):
    return SubnetLease(stack=stack, network=network, subnet=subnet, since=NOW)


def settled(*networks, on_record=(), there=None, routes=(), prefix=26):
    later = NOW + timedelta(days=1)
    found = subnets.settle("shop", networks, on_record, there or {}, routes, RANGES, prefix, later)
    assert all(one.since == NOW for one in found if one in on_record)
    return {one.network: one.subnet for one in found}


def test_the_first_free_ones():
    assert settled("a", "b") == {"a": "10.9.0.0/26", "b": "10.9.0.64/26"}


def test_what_is_held_is_kept():
    assert settled("a", on_record=[lease(subnet="10.9.0.128/26")]) == {"a": "10.9.0.128/26"}


def test_networks_that_are_gone_hold_nothing():
    assert settled("b", on_record=[lease("a"), lease("b", "10.9.0.64/26")]) == {"b": "10.9.0.64/26"}


def test_not_what_other_stacks_hold():
    assert settled("a", on_record=[lease(stack="blog")]) == {"a": "10.9.0.64/26"}


@pytest.mark.parametrize("taken", ["10.9.0.0/27", "10.9.0.32/27", "10.9.0.0/26", "10.9.0.63/32"])
@pytest.mark.parametrize("held", [[], [lease()]])
def test_not_what_others_use(taken, held):
    assert settled("a", on_record=held, there={"other": (taken,)}) == {"a": "10.9.0.64/26"}
    assert settled("a", on_record=held, routes=[taken]) == {"a": "10.9.0.64/26"}


def test_the_next_range_and_then_the_engines_choice():
    assert settled("a", routes=["10.9.0.0/16"]) == {}
    assert settled("a", routes=["10.9.0.0/22"]) == {"a": "10.9.8.0/26"}
    assert settled("a", routes=["10.9.0.0/24", "10.9.8.0/26", "10.9.8.127/32"]) == {}


@pytest.mark.parametrize("route", ["0.0.0.0/0", "0.0.0.0/1", "fd00::/64", "nonsense", ""])
def test_routes_to_everywhere_and_what_is_no_ipv4_are_not_in_the_way(route):
    assert settled("a", routes=[route], there={"other": (route,)}) == {"a": "10.9.0.0/26"}


@pytest.mark.parametrize("held", [[], [lease("a", "10.9.0.64/26")]])
def test_a_network_that_is_there_stays_as_it_is(held):
    assert settled("a", on_record=held, there={"a": ("172.18.0.0/16",)}) == {}
    assert settled("a", on_record=held, there={"a": ("10.9.0.128/26",)}) == {"a": "10.9.0.128/26"}
    assert settled("a", on_record=held, there={"a": ("10.9.0.128/26", "fd00::/64")}) == {}
    assert settled("a", on_record=held, there={"a": ()}) == {}


def test_a_network_that_is_there_keeps_a_lease_outside_of_the_range_of_today():
    old = lease(subnet="10.77.0.0/26")
    assert settled("a", on_record=[old], there={"a": ("10.77.0.0/26",)}) == {"a": "10.77.0.0/26"}


def test_one_that_is_too_small_is_not_kept():
    assert settled("a", on_record=[lease()], prefix=25) == {"a": "10.9.0.0/25"}
    assert settled("a", on_record=[lease()], prefix=25, there={"a": ("10.9.0.0/26",)}) == {"a": "10.9.0.0/26"}


@pytest.mark.parametrize(("replicas", "prefix"), [(0, 26), (1, 26), (20, 26), (21, 25), (100, 23), (100_000, 16)])
def test_room_for_more(replicas, prefix):
    service = Service(name="web", replicas=replicas)
    assert subnets.prefix_for({"web": service}) == prefix


PARTS = st.integers(0, 3).map(lambda number: f"10.9.0.{64 * number}/26") | st.sampled_from(
    ["10.9.0.0/25", "10.9.0.16/28", "10.9.8.0/24", "172.17.0.0/16"]
)


@given(
    networks=st.lists(st.sampled_from("abcd"), unique=True),
    held=st.dictionaries(st.tuples(st.sampled_from(["shop", "blog"]), st.sampled_from("abcd")), PARTS),
    there=st.dictionaries(st.sampled_from("abxy"), PARTS.map(lambda one: (one,))),
    routes=st.lists(PARTS, max_size=2),
)
def test_no_two_overlap_and_again_is_the_same(networks, held, there, routes):
    by_subnet = {subnet: key for key, subnet in held.items()}
    on_record = [lease(name, subnet, stack) for subnet, (stack, name) in by_subnet.items()]
    found = settled(*networks, on_record=on_record, there=there, routes=routes)
    new = {name: IPv4Network(subnet) for name, subnet in found.items() if name not in there}
    for name, subnet in new.items():
        others = [one for other, one in new.items() if other != name]
        others += [IPv4Network(one) for other, (one,) in there.items() if other != name]
        others += [IPv4Network(one) for one in routes]
        assert not [one for one in others if one.overlaps(subnet)]
    record = [one for one in on_record if one.stack != "shop" and one.subnet not in found.values()]
    record += [lease(name, subnet) for name, subnet in found.items()]
    assert settled(*networks, on_record=record, there=there, routes=routes) == found


def config(**networks):
    return {"services": {"web": {"networks": dict.fromkeys(networks)}}, "networks": networks}


OPEN = {"name": "a", "ipam": {}}


@pytest.mark.parametrize(
    "more",
    [
        {"external": True},
        {"driver": "macvlan"},
        {"driver": "overlay"},
        {"enable_ipv6": True},
        {"enable_ipv4": False},
        {"ipam": {"config": [{"subnet": "10.1.0.0/16"}]}},
        {"ipam": {"driver": "dhcp"}},
    ],
)
def test_what_the_file_says_counts(more):
    project = config(default={**OPEN, **more})
    assert subnets.left_to_the_engine(project) == ()
    assert subnets.with_subnets(project, [lease()]) == project


@pytest.mark.parametrize("more", [{}, {"driver": "bridge"}, {"internal": True}, {"ipam": {"driver": "default"}}])
def test_what_it_leaves_open_gets_the_subnet(more):
    project = config(default={**OPEN, **more}, other={"name": "b"})
    made = subnets.with_subnets(project, [lease()])
    assert made["networks"]["default"]["ipam"]["config"] == [{"subnet": "10.9.0.0/26"}]
    assert made["networks"]["other"] == {"name": "b"}
    assert project["networks"]["default"] == {**OPEN, **more}


def test_a_network_that_nobody_uses_is_not_created():
    assert subnets.left_to_the_engine({"services": {"web": {"network_mode": "none"}}, "networks": {"d": OPEN}}) == ()


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.1/16", "10.0.0.0/27", "10.0.0.0/7", "fd00::/64", "ten"])
def test_a_setting_that_is_no_range(text):
    with pytest.raises(ValidationError):
        Settings(subnets=text)


def test_the_setting_may_be_empty():
    assert subnets.ranges_of(Settings(subnets="").subnets) == ()


def test_a_table_of_routes(tmp_path):
    """As the kernel writes it: net/ipv4/fib_trie.c."""
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "tun0\t0000100A\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n"
        "nonsense\n"
    )
    assert probes._routes(table) == ("0.0.0.0/0", "10.16.0.0/12")
    assert probes._routes(Path("/nowhere")) == ()
