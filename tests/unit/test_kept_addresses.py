"""Which addresses services keep, and what of a definition makes that impossible."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.rules import kept_addresses

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def project(subnet: str | None = "10.201.0.0/26", **services: Any) -> dict[str, Any]:
    """A project with one network of its own; of each service, what it says of that."""
    network = {"name": "shop_default"} | ({"ipam": {"config": [{"subnet": subnet}]}} if subnet else {})
    made = {name: {"networks": {"default": how}} for name, how in services.items()}
    return {"services": made, "networks": {"default": network}}


def keeping(*names: str) -> dict[str, Service]:
    return {name: Service(name=name, address_kept=True) for name in names}


def box(service: str, address: str) -> Container:
    return Container(id=service, name=service, service=service, state="running", addresses=(address,))


def settled(config, services, on_record=(), *boxes):
    observed = Observed(stack="shop", containers=boxes)
    return kept_addresses.settle("shop", config, services, on_record, observed, NOW)


def addresses(leases) -> dict[str, str]:
    return {one.service: one.address for one in leases}


def test_from_the_top_and_kept_whoever_comes_or_goes():
    first = settled(project(web=None, db=None), keeping("web", "db"))
    assert addresses(first) == {"web": "10.201.0.62", "db": "10.201.0.61"}
    more = settled(project(api=None, web=None, db=None), keeping("api", "web", "db"), first)
    assert addresses(more) == {**addresses(first), "api": "10.201.0.60"}
    assert settled(project(web=None), keeping("web"), more) == more, "they are held until they are released"
    assert settled(project(web=None, db=None), {"web": Service(name="web")}) == ()


def test_what_others_have_is_not_taken():
    config = project(web=None, fixed={"ipv4_address": "10.201.0.62"})
    config["networks"]["default"]["ipam"]["config"][0] |= {
        "gateway": "10.201.0.61",
        "aux_addresses": {"printer": "10.201.0.60"},
    }
    found = settled(config, keeping("web"), (), box("other", "10.201.0.59"))
    assert addresses(found) == {"web": "10.201.0.58"}


def test_another_subnet_has_addresses_of_its_own_and_the_old_ones_are_there_for_an_undo():
    first = settled(project(web=None), keeping("web"))
    both = settled(project("10.201.7.0/26", web=None), keeping("web"), first)
    assert sorted(one.address for one in both) == ["10.201.0.62", "10.201.7.62"]
    for subnet, address in (("10.201.0.0/26", "10.201.0.62"), ("10.201.7.0/26", "10.201.7.62")):
        config = kept_addresses.with_addresses(project(subnet, web={"aliases": ["x"]}), keeping("web"), both)
        assert config["services"]["web"]["networks"] == {"default": {"aliases": ["x"], "ipv4_address": address}}
    other = project("10.9.0.0/26", web=None)
    assert kept_addresses.with_addresses(other, keeping("web"), both) == other


def test_an_address_that_looks_like_ours_is_taken_over_where_the_registry_was_lost():
    assert addresses(settled(project(web=None), keeping("web"), (), box("web", "10.201.0.50"))) == {
        "web": "10.201.0.50"
    }
    assert addresses(settled(project(web=None), keeping("web"), (), box("web", "10.201.0.3"))) == {"web": "10.201.0.62"}


def test_what_the_file_says_itself_counts():
    config = project(web={"ipv4_address": "10.201.0.9"})
    assert settled(config, keeping("web")) == ()
    assert kept_addresses.with_addresses(config, keeping("web"), ()) == config


@pytest.mark.parametrize(
    "change",
    [
        {"networks": {"default": {"name": "x", "external": True}}},
        {"networks": {"default": {"name": "x", "enable_ipv4": False}}},
        {"networks": {"default": {"name": "x", "driver": "overlay"}}},
        {"services": {"web": {"network_mode": "host"}}},
    ],
)
def test_no_network_of_its_stack(change):
    with pytest.raises(DefinitionError, match="it is on no network of its stack"):
        settled(project(web=None) | change, keeping("web"))


def test_a_subnet_that_the_engine_chooses():
    with pytest.raises(DefinitionError, match="the engine chose the subnet of network shop_default"):
        settled(project(None, web=None), keeping("web"))


def test_no_address_left():
    config = project("10.201.0.0/30", web=None, db=None)
    with pytest.raises(DefinitionError, match="no address is left"):
        settled(config, keeping("web", "db"))
