"""Subnets that a stack holds: over its whole life, beside others, and when something is in the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from moorage.errors import EngineError, MoorageError
from moorage.model.definition import Source
from moorage.model.lease import SubnetLease
from moorage.rules import labels, subnets
from moorage.work.definitions.request import UpRequest
from moorage.work.operations import one_off
from moorage.work.runs.context import Context
from tests.properties.memory import CLOCK, STACK, service
from tests.properties.test_network_cases import DEFAULT, Stack, undone_at

pytestmark = pytest.mark.usefixtures("without_threads_and_time")
FIRST, SECOND = "10.201.0.0/26", "10.201.0.64/26"


@pytest.fixture
def stack(monkeypatch):
    monkeypatch.delenv("MOORAGE_SUBNETS")
    made = Stack()
    made.begin()
    made.define({"db": service(), "web": service(depends_on=["db"])})
    yield made
    made.teardown()


def subnet(stack, network=DEFAULT):
    return stack.machine.networks[network].subnet


def leased(stack):
    return {one.network: one.subnet for one in stack.world().store.subnets(STACK)}


def end(stack, how):
    asyncio.run(stack.ending(how)(stack.world()))


def test_a_small_one_of_our_range(stack):
    stack.bring()
    assert subnet(stack) == FIRST
    assert leased(stack) == {DEFAULT: FIRST}
    assert stack.plan().empty


@pytest.mark.parametrize("how", ["down", "down volumes", "stop"])
def test_kept_like_ports(stack, how):
    stack.bring()
    end(stack, how)
    stack.machine.add_network("other", subnet="10.201.0.128/26")
    other = SubnetLease(stack="blog", network="b", subnet=SECOND, since=stack.world().clock.now())
    stack.world().store.settle_subnets("blog", lambda _: [other])
    stack.bring()
    assert subnet(stack) == FIRST


def test_released_with_the_ports(stack):
    stack.bring()
    end(stack, "down volumes ports")
    assert leased(stack) == {}


def test_somebody_has_it_now(stack):
    stack.bring()
    end(stack, "down")
    stack.machine.add_network("other", subnet="10.201.0.0/24")
    stack.bring()
    assert subnet(stack) == "10.201.1.0/26"


def test_not_where_this_machine_has_a_route(stack):
    stack.machine.routes = ("0.0.0.0/0", "10.0.0.0/8", "198.18.0.0/24")
    stack.bring()
    assert subnet(stack) == "198.18.1.0/26"


def test_what_only_the_engine_knows(stack):
    stack.machine.hidden_subnets = {"10.201.0.0/25"}
    said = []
    asyncio.run(stack.up(replace(stack.world(), emit=said.append)))
    assert subnet(stack) == "10.201.0.128/26"
    assert leased(stack) == {DEFAULT: "10.201.0.128/26"}
    assert any("subnet 10.201.0.0/26 is in use" in event.message for event in said)


def test_where_none_is_taken_the_engine_chooses(stack):
    stack.machine.hidden_subnets = {"10.201.0.0/16", "198.18.0.0/15"}
    stack.bring()
    assert IPv4Network(subnet(stack)).subnet_of(IPv4Network("172.16.0.0/12"))
    assert leased(stack) == {}


def test_several_networks_of_which_one_is_refused(stack):
    stack.machine.hidden_subnets = {SECOND}
    networks = {"front": {}, "back": {}}
    stack.define({"db": service(networks=["back"]), "web": service(networks=["back", "front"])}, networks=networks)
    stack.bring()
    assert leased(stack) == {f"{STACK}_{name}": subnet(stack, f"{STACK}_{name}") for name in networks}
    stack.all_on("db", "web", network=f"{STACK}_back")


def test_a_network_of_before_stays_as_it_is(stack):
    """As an earlier version has made it."""
    world = stack.world()
    asyncio.run(stack.up(replace(world, settings=world.settings.model_copy(update={"subnets": ""}))))
    before = stack.machine.networks[DEFAULT].id
    assert IPv4Network(subnet(stack)).subnet_of(IPv4Network("172.16.0.0/12"))
    stack.define({"db": service(), "web": service(environment={"A": "2"})})
    stack.bring()
    assert stack.machine.networks[DEFAULT].id == before
    assert leased(stack) == {}


def test_after_the_registry_was_lost_the_network_counts(stack):
    stack.bring()
    before = stack.machine.networks[DEFAULT].id
    stack.world().store.settle_subnets(STACK, lambda _: ())
    stack.define({"db": service(), "web": service(environment={"A": "2"})})
    stack.bring()
    assert stack.machine.networks[DEFAULT].id == before
    assert leased(stack) == {DEFAULT: FIRST}


def test_run_beside_a_stack_leaves_its_network_alone(stack):
    stack.bring()
    stack.world().store.settle_subnets(STACK, lambda _: ())
    request = UpRequest(source=Source(directory=stack.folder))
    made = asyncio.run(one_off.prepare(Context(stack.world()), request, "web"))
    assert FIRST in stack.files.read(f"generations/{STACK}/run-web.compose.json")
    assert made.stack == STACK


@pytest.mark.parametrize("first", ["up", "down", "stop"])
def test_run_of_one_service_gives_up_no_subnet_of_the_others(stack, first):
    two = {"db": service(networks=["back"]), "web": service(networks=["front"])}
    stack.define(two, networks={"front": {}, "back": {}})
    stack.bring()
    before = leased(stack)
    if first != "up":
        end(stack, first)
    asyncio.run(one_off.prepare(Context(stack.world()), UpRequest(source=Source(directory=stack.folder)), "web"))
    assert leased(stack) == before
    assert len(before) == len(two)


def test_an_undone_first_start_holds_none(stack):
    undone_at(stack, "create container")
    assert leased(stack) == {}
    assert DEFAULT not in stack.machine.networks


def test_an_undone_change_holds_what_it_held(stack):
    stack.bring()
    CLOCK.advance(1)
    stack.define({"db": service(networks=["default", "more"]), "web": service()}, networks={"more": {}})
    undone_at(stack, "create container")
    assert leased(stack) == {DEFAULT: FIRST}
    assert subnet(stack) == FIRST
    stack.all_on("db", "web")


def test_a_change_of_another_option_keeps_the_subnet(stack):
    stack.bring()
    before = stack.machine.networks[DEFAULT].id
    stack.define(stack.services, networks={"default": {"labels": {"a": "2"}}})
    stack.bring()
    assert stack.machine.networks[DEFAULT].id != before
    assert subnet(stack) == FIRST
    stack.all_on("db", "web")


def test_another_fault_is_not_taken_for_a_subnet_in_use(stack):
    world = stack.world()

    def create(*_args):
        raise EngineError("compose create: no space left on device")

    world.compose.create = create
    with pytest.raises(MoorageError, match="no space left"):
        asyncio.run(stack.up(world))
    assert not subnets.is_overlap("no space left on device")
    assert not [box for box in stack.machine.of_project(STACK) if box.labels[labels.COMPOSE_SERVICE]]
