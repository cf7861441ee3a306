"""Networks that change, fail to change, or are gone: each container is on them again, or it is said that it is not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from moorage.errors import EngineError, MoorageError, UndoIncompleteError
from moorage.model.definition import Source
from moorage.model.health import DriftKind
from moorage.model.request import HealRequest, RestartRequest, StartRequest
from moorage.model.state import Attachment, StackState
from moorage.rules import labels
from moorage.testing import faulty
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import resolve
from moorage.work.operations.heal import heal
from moorage.work.operations.restart import restart
from moorage.work.operations.start import start
from moorage.work.queries.health import health
from moorage.work.queries.plan import plan_up
from moorage.work.queries.status import status
from moorage.work.runs.context import Context
from tests.properties.memory import STACK, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")
DEFAULT = f"{STACK}_default"


class Stack(Transactions):
    """A stack whose compose file is written whole."""

    def define(self, services: dict[str, Any], **more: Any) -> None:
        self.services = services
        (self.folder / "compose.yaml").write_text(json.dumps({"name": STACK, "services": services, **more}))

    def bring(self) -> Any:
        return asyncio.run(self.up(self.world()))

    def box(self, name: str) -> Any:
        (found,) = [box for box in self.machine.of_project(STACK) if box.labels[labels.COMPOSE_SERVICE] == name]
        return found

    def all_on(self, *names: str, network: str = DEFAULT) -> None:
        """All run, on the network that is there now, under their names."""
        for name in names:
            box = self.box(name)
            place = box.networks[network]
            assert (box.running, place.id) == (True, self.machine.networks[network].id), name
            assert name in place.aliases

    def plan(self) -> Any:
        world = self.world()
        return asyncio.run(plan_up(world, resolve(world, UpRequest(source=Source(directory=self.folder))))).plan


@pytest.fixture
def stack():
    made = Stack()
    made.begin()
    yield made
    made.teardown()


@pytest.fixture
def two(stack):
    """Two services that run on one network."""
    stack.define({"db": service(), "web": service(depends_on=["db"])})
    stack.bring()
    return stack


def removed_while_off(stack: Stack) -> None:
    asyncio.run(stack.ending("stop")(stack.world()))
    stack.machine.remove_network(DEFAULT)


def made_anew_while_off(stack: Stack) -> None:
    removed_while_off(stack)
    stack.machine.add_network(DEFAULT, {labels.COMPOSE_PROJECT: STACK})


def disconnected(stack: Stack) -> None:
    stack.box("web").networks.clear()


def connected_by_hand(stack: Stack) -> None:
    place = stack.box("web").networks[DEFAULT]
    stack.box("web").networks[DEFAULT] = Attachment(id=place.id)


BEHIND_OUR_BACK = [removed_while_off, made_anew_while_off, disconnected, connected_by_hand]
MEND = {
    "up": lambda stack: stack.bring(),
    "start": lambda stack: asyncio.run(start(Context(stack.world()), StartRequest(stack=STACK))),
    "start web": lambda stack: asyncio.run(start(Context(stack.world()), StartRequest(stack=STACK, services=("web",)))),
    "restart": lambda stack: asyncio.run(restart(Context(stack.world()), RestartRequest(stack=STACK))),
    "restart --recreate": lambda stack: asyncio.run(
        restart(Context(stack.world()), RestartRequest(stack=STACK, recreate=True))
    ),
}


@pytest.mark.parametrize("happens", BEHIND_OUR_BACK, ids=lambda one: one.__name__)
@pytest.mark.parametrize("verb", MEND)
def test_what_happens_to_networks_behind_our_back_is_mended(two, happens, verb):
    happens(two)
    MEND[verb](two)
    two.all_on("db", "web")
    assert asyncio.run(health(two.world(), STACK)).drift == ()


@pytest.mark.parametrize("happens", [disconnected, connected_by_hand], ids=lambda one: one.__name__)
def test_it_is_drift_that_heal_mends_and_no_ready_service(two, happens):
    happens(two)
    (drift,) = asyncio.run(health(two.world(), STACK)).drift
    assert (drift.service, drift.kind) == ("web", DriftKind.NETWORK)
    assert DEFAULT in drift.what
    found = asyncio.run(status(two.world(), STACK))
    assert (found.state, found.services["web"].ready) == (StackState.DEGRADED, False)
    assert found.notices == (f"services.web: {drift.what}; `moorage up` mends it",)
    assert f"web: {drift.what}" in next(step for step in two.plan().steps if step.id == "create").detail
    assert asyncio.run(heal(Context(two.world()), HealRequest(stack=STACK, insist=True))).healed == ("web",)
    two.all_on("db", "web")


def test_a_stack_that_was_stopped_on_purpose_has_not_drifted(two):
    removed_while_off(two)
    assert asyncio.run(health(two.world(), STACK)).drift == ()
    assert [n for n in asyncio.run(status(two.world(), STACK)).notices if DEFAULT in n]


def test_an_external_network_that_was_made_anew_under_its_name(stack):
    stack.machine.add_network("proxy")
    stack.define({"web": service(networks=["proxy"])}, networks={"proxy": {"external": True, "name": "proxy"}})
    stack.bring()
    asyncio.run(stack.ending("stop")(stack.world()))
    stack.machine.remove_network("proxy")
    stack.machine.add_network("proxy")
    MEND["start"](stack)
    stack.all_on("web", network="proxy")


def with_subnet(stack: Stack, number: int, **web: Any) -> None:
    networks = {"default": {"ipam": {"config": [{"subnet": f"10.213.{number}.0/24"}]}}}
    stack.define({"db": service(), "web": service(depends_on=["db"], **web)}, networks=networks)


def test_another_subnet(stack):
    with_subnet(stack, 1)
    stack.bring()
    before = stack.machine.networks[DEFAULT].id
    with_subnet(stack, 2)
    stack.bring()
    assert stack.machine.networks[DEFAULT].id != before
    stack.all_on("db", "web")


def undone_at(stack: Stack, effect: str) -> None:
    """An `up` whose first effect of this kind fails."""
    struck = []

    def fault(what: str) -> None:
        if effect in what and not struck:
            struck.append(what)
            raise EngineError(f"{what}: no")

    with pytest.raises(MoorageError) as caught:
        asyncio.run(stack.up(faulty(stack.world(), fault)))
    assert struck, effect
    assert not isinstance(caught.value, UndoIncompleteError)


@pytest.mark.parametrize(
    "effect",
    [
        f"disconnect {STACK}-web-1",
        f"remove network {DEFAULT}",
        f"create network {DEFAULT}",
        f"connect {STACK}-web-1 to",
        "create container",
    ],
)
def test_a_change_of_a_network_that_fails_ends_with_all_on_it_again(stack, effect):
    with_subnet(stack, 1)
    stack.bring()
    with_subnet(stack, 2)
    undone_at(stack, effect)
    stack.all_on("db", "web")
    assert asyncio.run(health(stack.world(), STACK)).drift == ()


def test_a_service_that_fails_on_the_new_network_brings_the_old_one_back(stack):
    with_subnet(stack, 1)
    stack.bring()
    with_subnet(stack, 2, image="fails:1")
    with pytest.raises(MoorageError):
        stack.bring()
    stack.all_on("db", "web")


def test_an_undo_that_cannot_bring_them_back_says_so(stack):
    """Somebody holds on to what the run made, so that the old network cannot come back."""
    with_subnet(stack, 1)
    stack.bring()
    with_subnet(stack, 2)

    def fault(what: str) -> None:
        if f"create network {DEFAULT}" in what:
            raise EngineError("Pool overlaps with other one on this address space")

    with pytest.raises(UndoIncompleteError) as caught:
        asyncio.run(stack.up(faulty(stack.world(), fault)))
    assert caught.value.exit_code == 6
    assert "Pool overlaps" in str(caught.value.fields["left"])
    stack.bring()
    stack.all_on("db", "web")


SHARE = [{"network_mode": "service:db"}, {"pid": "service:db"}, {"ipc": "service:db"}, {"volumes_from": ["db:ro"]}]


@pytest.mark.parametrize("share", SHARE, ids=str)
def test_what_shares_with_a_service_comes_up_with_it(stack, share):
    stack.define({"db": service(volumes=["/keep"]), "user": service(**share)})
    stack.bring()
    old = stack.box("user").id
    stack.define({"db": service(volumes=["/keep"], environment={"A": "2"}), "user": service(**share)})
    (create,) = [step for step in stack.plan().steps if step.id == "create"]
    assert any(line.startswith("user: it shares the ") for line in create.detail)
    stack.bring()
    assert stack.box("user").id != old
    assert stack.box("user").running
    assert stack.plan().empty
    undone_at_new_image(stack, share)
    assert stack.box("user").running
    MEND["restart --recreate"](stack)
    assert stack.box("user").running


def undone_at_new_image(stack: Stack, share: dict[str, Any]) -> None:
    stack.define({"db": service(image="fails:1", volumes=["/keep"]), "user": service(**share)})
    with pytest.raises(MoorageError):
        stack.bring()


def test_what_compose_replaces_on_its_own_account_is_started_with_who_waits_for_it(stack):
    """As another version of Compose would: to its hash, the container is of another definition."""
    restarting = {"web": {"condition": "service_started", "restart": True}}
    stack.define({"db": service(), "web": service(depends_on=["db"]), "late": service(depends_on=restarting)})
    stack.bring()
    ids = {name: stack.box(name).id for name in ("db", "web", "late")}
    for name in ("db", "web"):
        stack.box(name).labels[labels.COMPOSE_HASH] = "of another version"
    stack.define({**stack.services, "more": service()})
    assert {step.service for step in stack.plan().steps if step.service} == {"more"}
    result = stack.bring()
    assert {name for name in ids if stack.box(name).id != ids[name]} == {"db", "web"}
    assert all(stack.box(name).running for name in (*ids, "more"))
    assert all(one.ready for one in result.status.services.values())


def test_a_container_that_was_only_created_is_not_ready_whatever_its_restart_policy(two):
    two.define({name: {**one, "restart": "always"} for name, one in two.services.items()})
    two.bring()
    web = two.box("web")
    web.state, web.started_at = "created", None
    assert not asyncio.run(status(two.world(), STACK)).services["web"].ready
    two.bring()
    two.all_on("db", "web")


def test_a_volume_keeps_its_options_and_its_data_and_that_is_told(stack):
    def sized(size: int) -> None:
        volume = {"driver_opts": {"type": "tmpfs", "o": f"size={size}m"}}
        stack.define({"db": service(volumes=["data:/data"])}, volumes={"data": volume})

    sized(1)
    assert stack.bring().status.notices == ()
    stack.machine.put(stack.box("db"), "/data/kept", "precious")
    sized(3)
    (planned,) = [notice for notice in stack.plan().notices if notice.startswith("volumes.data")]
    assert "size=1m, type=tmpfs, not o=size=3m" in planned
    for _ in range(2):
        assert stack.bring().status.notices == (planned,)
    assert asyncio.run(status(stack.world(), STACK)).notices == (planned,)
    assert stack.machine.files_of(stack.box("db"))["/data/kept"] == "precious"


def _ports(stack: Stack) -> set[int]:
    return {port.published for box in stack.machine.of_project(STACK) for port in box.bound}


def test_replicas_have_the_free_ports_of_a_range_and_nobody_elses(stack):
    stack.machine.busy_ports.add((8001, "tcp"))
    stack.define({"web": service(ports=["8000-8003:80"], deploy={"replicas": 3})})
    stack.bring()
    assert _ports(stack) == {8000, 8002, 8003}
    stack.machine.busy_ports.clear()
    for verb in ("restart", "restart --recreate", "up"):
        MEND[verb](stack)
        assert _ports(stack) == {8000, 8002, 8003}, verb
    assert stack.machine.hidden_ports == set()
