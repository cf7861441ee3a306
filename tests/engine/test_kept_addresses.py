"""`x-moorage.address: keep` on the real engine."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from moorage.errors import DefinitionError, MoorageError
from moorage.model.request import RestartRequest, RollbackRequest
from moorage.work.operations.restart import restart
from moorage.work.operations.rollback import rollback
from moorage.work.runs.context import Context

pytestmark = pytest.mark.engine

SHOP = """
    services:
      web:
        image: "${TINY_IMAGE}"
        command: [sleep, infinity]
        init: true
        stop_grace_period: 0s
        environment: {VERSION: "1"}
        x-moorage: {address: keep}
      one: {image: "${TINY_IMAGE}", command: [sleep, infinity], init: true, stop_grace_period: 0s}
"""
PLAIN = SHOP.replace("        x-moorage: {address: keep}\n", "")


def address(s, service: str = "web") -> str:
    networks = s.container(service).attrs["NetworkSettings"]["Networks"]
    return networks[f"{s.name}_default"]["IPAddress"]


def subnet(s) -> IPv4Network:
    (network,) = s.client.networks.list(names=[f"{s.name}_default"])
    return IPv4Network(network.attrs["IPAM"]["Config"][0]["Subnet"])


async def test_it_is_the_same_however_often_it_is_made_again(stack):
    s = stack(SHOP)
    await s.up()
    first, identity = address(s), s.ids("web")
    assert first == str(subnet(s).broadcast_address - 1)
    await s.up()
    assert s.ids("web") == identity, "an unchanged start changes nothing"

    s.compose(
        SHOP.replace('"1"', '"2"') + "      two: {image: '${TINY_IMAGE}', command: [sleep, infinity], init: true}\n"
    )
    await s.up()
    assert s.ids("web") != identity
    assert address(s) == first
    await restart(Context(s.world), RestartRequest(stack=s.name, services=("web",), recreate=True))
    assert address(s) == first
    s.container("web").remove(force=True)
    await s.up()
    assert address(s) == first
    await rollback(Context(s.world), RollbackRequest(stack=s.name, to=1))
    assert address(s) == first
    await s.down(volumes=True)
    await s.up()
    assert address(s) == first
    await s.down(volumes=True, release_ports=True)
    assert s.world.store.addresses(s.name) == ()


async def test_it_is_said_and_taken_back_in_a_plan_that_makes_it_again(stack):
    s = stack(PLAIN)
    await s.up()
    other = s.ids("one")
    assert IPv4Address(address(s)) < subnet(s).broadcast_address - 30
    s.compose(SHOP)
    assert "create" in [step.id for step in (await s.plan()).steps]
    found = await s.up()
    assert address(s) == str(subnet(s).broadcast_address - 1)
    assert found.services["web"].addresses == (address(s),)
    assert s.ids("one") == other, "the network stays, and so does who is on it"
    s.compose(PLAIN)
    await s.up()
    assert IPv4Address(address(s)) < subnet(s).broadcast_address - 30
    await s.down(volumes=True, release_ports=True)


async def test_a_start_that_fails_has_kept_nothing(stack, machine_state):
    s = stack(SHOP.replace("[sleep, infinity]", "[sh, -c, exit 3]", 1))
    with pytest.raises(MoorageError):
        await s.up()
    assert s.world.store.addresses(s.name) == ()
    machine_state.assert_same()


async def test_a_change_that_fails_is_undone_with_the_address(stack):
    s = stack(SHOP)
    await s.up()
    first = address(s)
    s.compose(SHOP.replace("[sleep, infinity]", "[sh, -c, exit 3]", 1))
    with pytest.raises(MoorageError):
        await s.up()
    assert address(s) == first
    await s.down(volumes=True, release_ports=True)


async def test_where_the_engine_chose_the_subnet_it_is_refused_in_the_plan(stack):
    s = stack(PLAIN)
    ours, s.world = s.world, replace(s.world, settings=s.world.settings.model_copy(update={"subnets": ""}))
    await s.up()
    before = s.ids()
    s.compose(SHOP)
    s.world = ours
    with pytest.raises(DefinitionError, match="the engine chose the subnet"):
        await s.plan()
    await s.fails(DefinitionError)
    assert s.ids() == before
    await s.down()
    await s.up()
    assert address(s) == str(subnet(s).broadcast_address - 1)
    await s.down(volumes=True, release_ports=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHOP.replace("keep", "10.0.0.9"), "is not keep"),
        (SHOP.replace("        x-moorage", "        scale: 2\n        x-moorage"), "one address for 2 replicas"),
        (
            SHOP.replace("        x-moorage", "        network_mode: none\n        x-moorage"),
            "on no network of its stack",
        ),
    ],
)
async def test_what_cannot_be_kept_is_refused(stack, text, said):
    assert said in str(await stack(text).fails(DefinitionError))


async def test_a_subnet_in_the_file(stack, stack_prefix):
    last = sum(map(ord, stack_prefix)) % 200
    s = stack(SHOP + f"    networks: {{default: {{ipam: {{config: [{{subnet: 10.213.{last}.0/24}}]}}}}}}\n")
    await s.up()
    assert address(s) == f"10.213.{last}.254"
    await s.down(volumes=True, release_ports=True)


def test_another_container_of_the_service_has_another_address(project):
    project.compose(SHOP)
    project.moorage("up")
    kept = project.moorage("status", "--json").json["services"]["web"]["addresses"]
    said = project.moorage("run", "web", "--", "hostname", "-i").stdout
    assert kept[0] not in said
    project.moorage("down", "--volumes", "--release-ports")


async def test_somebody_else_has_it_meanwhile(stack, docker_client, tiny_image):
    s = stack(SHOP)
    await s.up()
    first = address(s)
    s.container("web").remove(force=True)
    network = f"{s.name}_default"
    api = docker_client.api
    place = api.create_networking_config({network: api.create_endpoint_config(ipv4_address=first)})
    thief = api.create_container(tiny_image, ["sleep", "600"], networking_config=place)["Id"]
    api.start(thief)
    try:
        with pytest.raises(MoorageError, match="another container has its address on a network") as caught:
            await s.up()
        assert caught.value.exit_code in (4, 5)
        assert "web" not in {c.labels["com.docker.compose.service"] for c in s.containers()}
    finally:
        api.remove_container(thief, force=True)
    try:
        await s.up()
        assert address(s) == first
    finally:
        await s.down(volumes=True, release_ports=True)
