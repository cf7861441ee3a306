"""A stack on one engine, and commands that are given where another one is named: nothing is done, nothing forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moorage.errors import DefinitionError, MoorageError, OtherEngineError, UnsupportedByBackendError
from moorage.interfaces import World
from moorage.model.definition import Check, PortMapping, ReadyCheck, Service, Source
from moorage.model.engine import EnginePlace, EngineRecord
from moorage.model.finding import Leftover
from moorage.model.request import (
    DownRequest,
    RestartRequest,
    RollbackRequest,
    SnapshotRequest,
    StartRequest,
    StopRequest,
    SweepRequest,
)
from moorage.rules import engines
from moorage.settings import Settings
from moorage.testing import FakeMachine, Killed, MemoryFiles, MemoryStore, fail_at, fake_world, faulty
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.operations.down import down
from moorage.work.operations.release_ports import release
from moorage.work.operations.restart import restart
from moorage.work.operations.rollback import rollback
from moorage.work.operations.snapshot import snapshot
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.sweep import sweep
from moorage.work.operations.up import up
from moorage.work.queries.plan import plan_up
from moorage.work.queries.status import status
from moorage.work.runs.context import Context

pytestmark = pytest.mark.usefixtures("without_threads_and_time")
HERE = EngineRecord(address="unix:///a.sock", id="a")


@pytest.mark.parametrize(
    ("recorded", "same"),
    [
        (None, True),
        (HERE, True),
        (EngineRecord(address="tcp://127.0.0.1:1", id="a"), True),
        (EngineRecord(address="unix:///a.sock", id="of a CI job before"), True),
        (EngineRecord(address="unix:///b.sock", id="b"), False),
        (EngineRecord(address="unix:///b.sock"), False),
    ],
)
def test_when_it_is_the_same_engine(recorded, same):
    assert engines.is_same(recorded, HERE) is same


@dataclass
class Two:
    """Two machines, one home. The stack `shop` has one service with a volume, and a port."""

    directory: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    files: MemoryFiles = field(default_factory=MemoryFiles)
    one: FakeMachine = field(default_factory=FakeMachine)
    two: FakeMachine = field(default_factory=FakeMachine)

    def world(self, machine: FakeMachine, *, forget: bool = False) -> World:
        settings = Settings(settle_s=0, lock_timeout_s=0, home=self.files.root, forget_engine=forget)
        return fake_world(machine, self.store, self.files, settings=settings)

    def up(self, world: World) -> None:
        asyncio.run(up(Context(world), UpRequest(source=Source(directory=self.directory))))


@pytest.fixture
def both(tmp_path: Path) -> Two:
    made = Two(tmp_path)
    for machine, name in ((made.one, "one"), (made.two, "two")):
        machine.place, machine.identity = EnginePlace(address=f"unix:///{name}.sock", context=name), name
        machine.add_image("app:1", ["sleep", "600"])
    (tmp_path / "compose.yaml").write_text(
        '{"name": "shop", "services": {"db": {"image": "app:1", "volumes": ["data:/data"], "ports": ["8000:80"]}},'
        ' "volumes": {"data": {}}}'
    )
    return made


VERBS = {
    "up": lambda both, world: both.up(world),
    "down": lambda _both, world: asyncio.run(
        down(Context(world), DownRequest(stack="shop", volumes=True, release_ports=True))
    ),
    "restart": lambda _both, world: asyncio.run(restart(Context(world), RestartRequest(stack="shop"))),
    "rollback": lambda _both, world: asyncio.run(rollback(Context(world), RollbackRequest(stack="shop"))),
    "start": lambda _both, world: asyncio.run(start(Context(world), StartRequest(stack="shop"))),
    "stop": lambda _both, world: asyncio.run(stop(Context(world), StopRequest(stack="shop"))),
    "ports release": lambda _both, world: release(world, "shop", ()),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_takes_it_for_gone(verb, both):
    both.up(both.world(both.one))
    record, leases = both.store.stack("shop"), both.store.leases("shop")
    with pytest.raises(OtherEngineError, match=r"on the engine at unix:///one\.sock") as caught:
        VERBS[verb](both, both.world(both.two))
    assert "DOCKER_CONTEXT=one" in str(caught.value.hint)
    assert (both.store.stack("shop"), both.store.leases("shop")) == (record, leases)
    assert (len(both.one.boxes), len(both.two.boxes)) == (1, 0)
    assert not both.store.unfinished_runs("shop")


def test_status_says_that_it_did_not_look_there(both):
    both.up(both.world(both.one))
    seen = asyncio.run(status(both.world(both.two), "shop"))
    assert seen.engine == "unix:///two.sock (context 'two')"
    assert any("unix:///one.sock" in notice for notice in seen.notices)


def test_what_was_killed_there_is_undone_there(both):
    """A sweep elsewhere closed its record, and said that nothing was left."""
    fault = fail_at(12, kill=True)
    with pytest.raises((Killed, MoorageError)):
        both.up(faulty(both.world(both.one), fault))
    assert both.store.unfinished_runs("shop")
    found = asyncio.run(sweep(Context(both.world(both.two)), SweepRequest()))
    assert [(one.kind, one.swept) for one in found] == [(Leftover.STACK, False)]
    assert both.store.unfinished_runs("shop")
    assert all(one.swept for one in asyncio.run(sweep(Context(both.world(both.one)), SweepRequest())))
    assert (both.one.boxes, both.one.networks, both.one.volumes) == ({}, {}, {})
    assert not both.store.unfinished_runs("shop")


def test_one_that_is_down_may_come_up_anywhere(both):
    both.up(both.world(both.one))
    asyncio.run(down(Context(both.world(both.one)), DownRequest(stack="shop")))
    both.up(both.world(both.two))
    assert (len(both.one.boxes), len(both.two.boxes)) == (0, 1)
    assert both.store.stack("shop").engine == EngineRecord(address="unix:///two.sock", context="two", id="two")


def test_an_engine_that_is_gone_for_good_can_be_forgotten(both):
    both.up(both.world(both.one))
    both.up(both.world(both.two, forget=True))
    both.up(both.world(both.two))
    assert len(both.two.boxes) == 1


def test_files_of_a_volume_are_refused_before_anything_rests(both):
    """Podman's archives have no owners: a snapshot would have lost them, and said that all was well."""
    both.one.product = "Podman Engine"
    both.up(both.world(both.one))
    with pytest.raises(UnsupportedByBackendError, match="volume data: Podman Engine"):
        asyncio.run(snapshot(Context(both.world(both.one)), SnapshotRequest(stack="shop", volume="data")))
    (box,) = both.one.boxes.values()
    assert box.state == "running"
    assert not both.store.unfinished_runs("shop")


FAR = EnginePlace(address="tcp://far:2376", machine="far")


@pytest.mark.parametrize(
    ("service", "key"),
    [
        (Service(name="web", ports=(PortMapping(service="web", target=80),)), "ports"),
        (Service(name="web", ready=ReadyCheck(check=Check.HTTP, path="/")), "x-moorage.ready.http"),
    ],
)
def test_what_is_to_be_reached_on_another_machine_is_refused(service, key):
    engines.refuse_far({"web": service}, EnginePlace(address="tcp://127.0.0.1:2376"))
    engines.refuse_far({"web": service.model_copy(update={"replicas": 0})}, FAR)
    with pytest.raises(DefinitionError, match=rf"services\.web\.{key}: the engine at tcp://far:2376 is on another"):
        engines.refuse_far({"web": service}, FAR)


def test_what_is_not_published_cannot_be_asked_behind_a_rootless_engine():
    asked = Service(name="web", ready=ReadyCheck(check=Check.TCP, port=80))
    with pytest.raises(DefinitionError, match=r"services\.web\.x-moorage\.ready\.tcp: port 80 is not published"):
        engines.refuse_apart({"web": asked})
    engines.refuse_apart(
        {
            "published": asked.model_copy(update={"ports": (PortMapping(service="web", target=80),)}),
            "not-started": asked.model_copy(update={"replicas": 0}),
            "any-port": Service(name="any", ready=ReadyCheck(check=Check.HTTP, path="/")),
            "no-network": Service(name="b", ready=ReadyCheck(check=Check.EXEC, command=("true",))),
        }
    )


def test_limits_that_a_rootless_engine_does_not_keep_are_named():
    limited = {
        "mem_limit": "64m",
        "cpus": 0.5,
        "deploy": {"resources": {"limits": {"pids": 10}, "reservations": {"cpus": 1}}},
    }
    said = [*engines.without_limits("Docker Engine", {"services": {"web": limited, "free": {"image": "x"}}})]
    assert [one.partition(": no effect")[0] for one in said] == [
        "services.web: cpus, mem_limit, deploy.resources.limits.pids"
    ]


def test_a_plan_for_a_rootless_engine_says_what_has_no_effect_and_refuses_what_cannot_be_reached(both):
    both.one.is_rootless, both.one.has_limits = True, False
    world, request = both.world(both.one), UpRequest(source=Source(directory=both.directory))
    file = both.directory / "compose.yaml"
    file.write_text(
        '{"name": "shop", "services": {"db": {"image": "app:1", "deploy": {"resources": {"limits": {"cpus": 1}}}}}}'
    )
    said = asyncio.run(plan_up(world, resolve(world, request))).plan.notices
    assert any(one.startswith("services.db: deploy.resources.limits.cpus: no effect") for one in said), said
    ready = '"x-moorage": {"ready": {"tcp": 80}}'
    file.write_text(f'{{"name": "shop", "services": {{"db": {{"image": "app:1", {ready}}}}}}}')
    with pytest.raises(DefinitionError, match="the addresses of a rootless engine's containers cannot be reached"):
        both.up(world)


def test_what_needs_no_network_may_be_on_another_machine():
    checked = ReadyCheck(check=Check.EXEC, command=("true",))
    engines.refuse_far({"a": Service(name="a"), "b": Service(name="b", ready=checked)}, FAR)
