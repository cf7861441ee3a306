"""Names that meet: two stacks come to one name on the engine, and neither of them has said so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import DefinitionError, EngineError, MoorageError
from moorage.interfaces import World
from moorage.model.definition import Source
from moorage.model.request import DownRequest
from moorage.rules import labels, sharing
from moorage.testing import FakeCompose, FakeMachine, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.operations.down import down
from moorage.work.operations.up import up
from moorage.work.queries.plan import plan_up
from moorage.work.runs.context import Context


class Machine:
    """One machine, on which stacks come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fake = FakeMachine()
        self.fake.add_image("app:1")
        self.store = MemoryStore()
        self.world: World = fake_world(self.fake, self.store, MemoryFiles(folder / "home"))

    def request(self, name: str, services: tuple[str, ...] = ("web",), **more: Any) -> UpRequest:
        directory = self.folder / name
        directory.mkdir(exist_ok=True)
        one = {"image": "app:1", "command": ["sleep", "600"]}
        volumes = more.get("volumes", {})
        mounts = {"volumes": [f"{key}:/{key}" for key in volumes]} if volumes else {}
        text = {"services": {service: {**one, **mounts} for service in services}, **more}
        (directory / "compose.yaml").write_text(json.dumps(text))
        return UpRequest(source=Source(directory=directory), name=name)

    def plan(self, request: UpRequest) -> tuple[str, ...]:
        """The notices of its plan."""
        return asyncio.run(plan_up(self.world, resolve(self.world, request))).plan.notices

    def up(self, request: UpRequest) -> None:
        asyncio.run(up(Context(self.world), request))

    def down(self, name: str, **more: Any) -> None:
        asyncio.run(down(Context(self.world), DownRequest(stack=name, **more)))

    def refused(self, request: UpRequest) -> DefinitionError:
        """Neither `plan` nor `up` takes it, and `up` leaves everything as it was."""
        before = self.everything()
        with pytest.raises(DefinitionError) as of_plan:
            self.plan(request)
        with pytest.raises(DefinitionError) as of_up:
            self.up(request)
        assert str(of_up.value) == str(of_plan.value)
        assert self.everything() == before
        return of_up.value

    def everything(self) -> dict[str, Any]:
        return {kind: self.world.engine.named(kind) for kind in ("container", "network", "volume")}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


MEETING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a_b_data", {"volumes": {"b_data": {}}}, {"volumes": {"data": {}}}),
    ("a_b_net", {"networks": {"b_net": {}}}, {"networks": {"net": {}}}),
]
"""A name, what stack `a` declares, what stack `a_b` declares."""


@pytest.mark.parametrize(("name", "of_a", "of_a_b"), MEETING, ids=["volume", "network"])
@pytest.mark.parametrize("first", ["a", "a_b"])
def test_of_volumes_and_networks(machine: Machine, name: str, of_a: Any, of_a_b: Any, first: str) -> None:
    requests = {"a": with_nets(machine, "a", of_a), "a_b": with_nets(machine, "a_b", of_a_b)}
    machine.up(requests.pop(first))
    error = machine.refused(*requests.values())
    assert name in str(error)
    assert f"stack {first!r}" in str(error)
    assert f"stack {next(iter(requests))!r}" in str(error)
    assert ".name`" in (error.hint or "")


def with_nets(machine: Machine, stack: str, more: dict[str, Any]) -> UpRequest:
    """All networks of the definition are used."""
    request = machine.request(stack, **more)
    file = request.source.directory / "compose.yaml"
    text = json.loads(file.read_text())
    if nets := list(more.get("networks", ())):
        text["services"]["web"]["networks"] = nets
        file.write_text(json.dumps(text))
    return request


def test_of_containers(machine: Machine) -> None:
    machine.up(machine.request("s", ("x-web",)))
    error = machine.refused(machine.request("s-x"))
    assert "services.web: stack 's-x' would need container s-x-web-1, which belongs to stack 's'" in str(error)


def test_of_a_container_that_is_nobodys(machine: Machine) -> None:
    machine.world.engine.hold("s-web-1", "app:1", {}, {})
    assert "nobody's" in str(machine.refused(machine.request("s")))


def test_of_a_stack_that_is_down(machine: Machine) -> None:
    """The engine has nothing of it, but it would come back to find its names taken."""
    machine.up(machine.request("s", ("x-web",), volumes={"x_data": {}}))
    machine.down("s", volumes=True)
    assert machine.everything() == {"container": {}, "network": {}, "volume": {}}
    error = machine.refused(machine.request("s-x"))
    assert "(services.x-web)" in str(error)
    machine.down("s", volumes=True, release_ports=True)
    machine.up(machine.request("s-x"))


def test_what_is_left_of_another_home(machine: Machine) -> None:
    """Two people with a checkout each: the second does not get the first one's data."""
    machine.up(machine.request("shop", volumes={"data": {}}))
    machine.down("shop")
    machine.world = fake_world(machine.fake, MemoryStore(), MemoryFiles(machine.folder / "other"))
    object.__setattr__(machine.world, "home", "other")
    assert "another MOORAGE_HOME" in str(machine.refused(machine.request("shop", volumes={"data": {}})))


def test_a_home_that_was_moved_keeps_its_data(machine: Machine) -> None:
    """Its registry went with it, so the stack has had its volume all along."""
    request = machine.request("shop", volumes={"data": {}})
    machine.up(request)
    machine.down("shop")
    object.__setattr__(machine.world, "home", "moved")
    machine.plan(request)
    machine.up(request)


def test_what_the_file_names_is_meant(machine: Machine) -> None:
    machine.up(machine.request("a", volumes={"b_data": {}}))
    for meant in ({"name": "a_b_data"}, {"name": "a_b_data", "external": True}):
        machine.plan(machine.request("a_b", volumes={"data": meant}))
        machine.up(machine.request("a_b", volumes={"data": meant}))


def test_what_was_made_by_hand_is_used_and_told(machine: Machine) -> None:
    machine.fake.add_volume("shop_data", {})
    request = machine.request("shop", volumes={"data": {}})
    (notice,) = machine.plan(request)
    assert notice == "volumes.data: volume shop_data is there already, made by hand, and used as it is"
    machine.up(request)


def test_what_plain_compose_made_is_the_stacks_own(machine: Machine) -> None:
    machine.fake.add_volume("shop_data", {labels.COMPOSE_PROJECT: "shop", labels.COMPOSE_VOLUME: "data"})
    request = machine.request("shop", volumes={"data": {}})
    assert machine.plan(request) == ()
    machine.up(request)


def test_of_two_at_once(machine: Machine) -> None:
    """The other one's volume appears after we have looked: Compose takes it, and then it is seen, and undone."""
    request = machine.request("a_b", volumes={"data": {}})

    def meanwhile(effect: str) -> None:
        if effect.startswith("create network"):
            machine.fake.add_volume("a_b_data", {labels.COMPOSE_PROJECT: "a", labels.STACK: "a", labels.HOME: "memory"})

    compose = machine.world.compose
    assert isinstance(compose, FakeCompose)
    machine.world = fake_world(machine.fake, machine.store, MemoryFiles(machine.folder / "home"))
    object.__setattr__(machine.world, "compose", FakeCompose(machine.fake, machine.world.files, meanwhile))
    with pytest.raises(MoorageError, match="volume a_b_data, which belongs to stack 'a'") as caught:
        machine.up(request)
    assert not isinstance(caught.value, EngineError)
    left = machine.everything()
    assert left["container"] == {}
    assert list(left["volume"]) == ["a_b_data"]


@pytest.mark.parametrize(
    ("stack", "other", "meet"),
    [("a", "a_b", True), ("a-b", "a", True), ("a", "ab", False), ("a", "b", False), ("a_b", "a-b", False)],
)
def test_only_names_that_begin_alike_can_meet(stack: str, other: str, meet: bool) -> None:
    assert sharing.may_meet(stack, other) is meet
