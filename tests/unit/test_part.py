"""An `up` of some services, on a machine in memory: these come up, what else there is stays as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moorage.errors import DefinitionError, MoorageError
from moorage.model.definition import Definition, Source
from moorage.model.image import ImageWish
from moorage.model.request import DownRequest, HealRequest, StartRequest, StopRequest
from moorage.model.state import StackState
from moorage.rules import composing, images, labels, part, reading
from moorage.testing import FakeCompose, FakeMachine, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.build import pull_services
from moorage.work.operations.down import down
from moorage.work.operations.heal import heal
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.up import up
from moorage.work.queries.health import health
from moorage.work.queries.status import status
from moorage.work.runs.context import Context

IMAGE = {"image": "app:1"}
FILE: dict[str, Any] = {
    "db": {**IMAGE, "volumes": ["data:/data"]},
    "web": {**IMAGE, "ports": ["8000:80"], "depends_on": ["db"]},
    "other": {**IMAGE, "ports": ["9000:90"]},
}


class Shop:
    """A stack called shop, and what is done to it."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.machine, self.store, self.files = FakeMachine(), MemoryStore(), MemoryFiles()
        self.machine.add_image("app:1", ["sleep", "600"])
        self.machine.add_image("app:2", ["sleep", "600"])
        self.machine.add_image("fails:1", ["sh", "-c", "echo no; exit 3"])
        self.write(FILE)

    def write(self, services: dict[str, Any], **more: Any) -> None:
        import json

        text = {"name": "shop", "services": services, "volumes": {"data": None}, **more}
        (self.folder / "compose.yaml").write_text(json.dumps(text))

    @property
    def context(self) -> Context:
        return Context(fake_world(self.machine, self.store, self.files))

    def up(self, *services: str, **asked: Any) -> Any:
        request = UpRequest(source=Source(directory=self.folder), services=services, **asked)
        return asyncio.run(up(self.context, request)).status

    def status(self) -> Any:
        return asyncio.run(status(self.context.world, "shop"))

    def down(self, *services: str, **asked: Any) -> None:
        asyncio.run(down(self.context, DownRequest(stack="shop", services=services, **asked)))

    def drift(self) -> tuple[Any, ...]:
        return asyncio.run(health(self.context.world, "shop")).drift

    def ids(self) -> dict[str, str]:
        return {box.labels[labels.COMPOSE_SERVICE]: box.id for box in self.machine.of_project("shop")}

    def running(self) -> set[str]:
        boxes = self.machine.of_project("shop")
        return {box.labels[labels.COMPOSE_SERVICE] for box in boxes if box.running}


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path)


def test_a_service_comes_up_with_what_it_needs_and_a_plain_up_brings_the_rest(shop):
    found = shop.up("web")
    assert (found.state, set(found.services)) == (StackState.RUNNING, {"db", "web"})
    assert {lease.key.service for lease in shop.store.leases("shop")} == {"web"}
    assert shop.drift() == ()
    before = shop.ids()
    assert shop.up().state == StackState.RUNNING
    assert shop.running() == {"db", "web", "other"}
    assert {name: shop.ids()[name] for name in before} == before, "what ran was not touched"


def test_what_is_not_asked_for_stays_as_it_is_though_its_definition_changed(shop):
    shop.up()
    before = shop.ids()
    shop.write({**FILE, "web": {**FILE["web"], "image": "app:2"}, "other": {**IMAGE, "environment": {"A": "1"}}})
    shop.up("web")
    assert {name for name, one in shop.ids().items() if before[name] != one} == {"web"}
    assert {lease.key.service for lease in shop.store.leases("shop")} == {"web", "other"}, "its lease is kept"
    assert shop.drift() == (), "the generation says what was applied"
    shop.up()
    assert {name for name, one in shop.ids().items() if before[name] != one} == {"web", "other"}


def test_what_was_stopped_on_purpose_stays_stopped_and_is_not_healed(shop):
    shop.up()
    asyncio.run(stop(shop.context, StopRequest(stack="shop", services=("other",))))
    found = shop.up("web", force_recreate=True)
    assert (found.state, found.services["other"].ready) == (StackState.DEGRADED, False)
    assert shop.drift() == ()
    asyncio.run(heal(shop.context, HealRequest(stack="shop", insist=True)))
    assert shop.running() == {"db", "web"}


def test_one_that_fails_is_undone_and_the_others_have_noticed_nothing(shop):
    shop.up()
    before, number = shop.ids(), shop.store.stack("shop").generation
    shop.write({**FILE, "more": {"image": "fails:1", "depends_on": ["db"]}})
    with pytest.raises(MoorageError) as raised:
        shop.up("more")
    assert (raised.value.exit_code, raised.value.fields["undone"]) == (5, True)
    assert shop.ids() == before
    assert shop.running() == set(before)
    assert shop.store.stack("shop").generation == number


def test_alone_it_comes_without_what_it_needs(shop):
    shop.up("web", no_deps=True)
    assert shop.running() == {"web"}
    shop.up()
    asyncio.run(stop(shop.context, StopRequest(stack="shop", services=("db",))))
    shop.up("web", no_deps=True, force_recreate=True)
    assert shop.running() == {"web", "other"}
    assert shop.drift() == (), "that db is stopped is still on purpose"


def test_nothing_to_do_is_nothing_done(shop):
    shop.up("web")
    number = shop.store.stack("shop").generation
    assert shop.up("web").generation == shop.up("db").generation == number


def test_a_changed_network_is_refused_while_others_are_on_it(shop):
    shop.up()
    shop.write(FILE, networks={"default": {"driver_opts": {"mtu": "1400"}}})
    with pytest.raises(DefinitionError, match=r"networks.default has changed, and services.other"):
        shop.up("web")
    assert shop.up("web", "other", "db").state == StackState.RUNNING


def test_a_service_that_is_not_there(shop):
    with pytest.raises(DefinitionError, match="no service 'weeb'") as raised:
        shop.up("weeb")
    assert raised.value.hint == 'Did you mean "web"?'
    assert not shop.ids()


def test_a_named_service_switches_its_profile_on(shop):
    shop.write({**FILE, "tool": {**IMAGE, "profiles": ["tools"], "depends_on": ["db"]}})
    shop.up("tool")
    assert shop.running() == {"tool", "db"}
    shop.up("web")
    assert shop.running() == {"tool", "db", "web"}


def test_a_number_of_replicas_holds_until_the_next_start_without_it(shop):
    shop.write({**FILE, "other": {**IMAGE, "ports": ["9000-9009:90"]}})
    found = shop.up(scale={"other": 3})
    assert len(found.services["other"].containers) == 3
    assert len({port.published for port in found.services["other"].ports}) == 3
    shop.up("web", force_recreate=True)
    assert len(shop.status().services["other"].containers) == 3, "it was not asked for"
    shop.up()
    assert len(shop.status().services["other"].containers) == 1
    with pytest.raises(DefinitionError, match="no service 'othr'"):
        shop.up(scale={"othr": 2})


def test_down_of_a_service_removes_its_container_and_it_stays_away(shop):
    shop.up()
    shop.down("web")
    assert shop.running() == {"db", "other"}
    assert shop.drift() == ()
    asyncio.run(heal(shop.context, HealRequest(stack="shop", insist=True)))
    asyncio.run(start(shop.context, StartRequest(stack="shop")))
    assert shop.running() == {"db", "other"}
    with pytest.raises(DefinitionError, match="web has no container to start"):
        asyncio.run(start(shop.context, StartRequest(stack="shop", services=("web",))))
    shop.up("web")
    assert shop.running() == {"db", "web", "other"}
    assert shop.drift() == ()


def test_after_a_down_some_services_are_a_whole_stack(shop):
    shop.up()
    shop.down()
    found = shop.up("web")
    assert (found.state, found.services["other"].state) == (StackState.RUNNING, "absent")
    assert shop.status().state == shop.up("web").state == StackState.RUNNING
    assert {lease.key.service for lease in shop.store.leases("shop")} == {"web", "other"}, "other keeps its port"
    shop.down("web")
    assert shop.status().state == StackState.RUNNING
    shop.up()
    assert shop.running() == {"db", "web", "other"}


def test_down_of_a_service_leaves_volumes_alone(shop):
    shop.machine.add_image("app:1", ["sleep", "600"], volumes=["/cache"])
    shop.up()
    there = set(shop.machine.volumes)
    shop.down("db")
    assert set(shop.machine.volumes) == there
    for asked in ({"volumes": True}, {"release_ports": True}):
        with pytest.raises(DefinitionError, match="is about a whole stack"):
            shop.down("web", **asked)
    with pytest.raises(DefinitionError, match="no service 'weeb'"):
        shop.down("weeb")
    assert shop.running() == {"web", "other"}


def test_a_failed_start_after_a_down_of_a_service_does_not_start_it(shop):
    shop.up()
    shop.down("web")
    shop.write({**FILE, "other": {"image": "fails:1"}})
    with pytest.raises(MoorageError):
        shop.up("other")
    assert set(shop.ids()) == shop.running() == {"db", "other"}


def test_rollback_and_generations_know_what_was_applied(shop):
    shop.up("web")
    shop.up()
    numbers = [one.number for one in shop.store.generations("shop")]
    read = {number: set(generations.read(shop.context.world, "shop", number).services) for number in numbers}
    assert read == {1: {"db", "web"}, 2: {"db", "web", "other"}}


def test_a_container_of_run_is_no_service_and_goes_with_down(shop):
    shop.up("db")
    box = next(iter(shop.machine.of_project("shop")))
    marks = {**box.labels, labels.COMPOSE_ONEOFF: "True"}
    shop.context.world.engine.hold("shop-db-run-1", "app:1", marks, {})
    assert shop.status().state == StackState.RUNNING
    assert shop.drift() == ()
    shop.down()
    assert not [one for one in shop.machine.boxes.values() if one.labels.get(labels.STACK) == "shop"]


def defined(services: dict[str, Any], **more: Any) -> Definition:
    config = {"name": "shop", "services": services, **more}
    return reading.read_definition(config, config, {}, {}, Source(directory="/p"))


def test_a_part_has_only_what_its_services_use():
    whole = defined(
        {
            "web": {"image": "a", "networks": {"front": None}, "secrets": [{"source": "pw"}]},
            "db": {"image": "a", "networks": {"back": None}, "volumes": [{"type": "volume", "source": "data"}]},
        },
        networks={"front": {"name": "f"}, "back": {"name": "b"}, "default": {"name": "d"}},
        volumes={"data": {}, "more": {}},
        secrets={"pw": {"file": "/pw"}, "no": {"file": "/no"}},
    )
    one = part.part_of(whole, {"web"})
    assert set(one.services) == set(one.config["services"]) == {"web"}
    assert [set(one.config[kind]) for kind in ("networks", "volumes", "secrets")] == [{"front"}, set(), {"pw"}]


@pytest.mark.parametrize("word", ["web", "=3", "web=", "web=x", "web=-1", "web=1.5", "web=99999", "web=３"])
def test_what_is_no_number_of_replicas(word):
    with pytest.raises(DefinitionError, match="is not SERVICE=NUMBER"):
        part.numbers_of([word], "--scale")


SEEDED = {**IMAGE, "pre_start": [{"image": "seed:1", "command": ["true"]}]}


def images_from(shop: Shop, **dockerfiles: str) -> None:
    for name, text in dockerfiles.items():
        (shop.folder / name).mkdir()
        (shop.folder / name / "Dockerfile").write_text(f'{text}CMD ["sleep", "600"]\n')


def built(shop: Shop, *services: str, **asked: Any) -> set[str]:
    """What an `up` of these builds."""
    before = {key: one[0] for key in ("base", "app") if (one := shop.context.world.engine.image(f"{key}:dev"))}
    shop.up(*services, **asked)
    after = {key: one[0] for key in ("base", "app") if (one := shop.context.world.engine.image(f"{key}:dev"))}
    return {key for key, one in after.items() if before.get(key) != one}


@pytest.mark.parametrize(
    ("app", "web"),
    [
        ("FROM base:dev\n", {"build": "./app", "image": "app:dev"}),
        ("FROM b\n", {"build": {"context": "./app", "additional_contexts": {"b": "service:base"}}, "image": "app:dev"}),
        ("", {"image": "base:dev"}),
        ("", {**IMAGE, "pre_start": [{"image": "base:dev", "command": ["true"]}]}),
    ],
    ids=["FROM", "additional context", "the same image", "init container"],
)
def test_an_image_that_another_service_builds_is_built_though_only_one_was_asked_for(shop, app, web):
    images_from(shop, base="FROM app:1\n", app=app)
    base = {"build": "./base", "image": "base:dev", "ports": ["7000:70"], "depends_on": ["db"]}
    shop.write({"base": base, "web": web, "db": IMAGE, "wrong": {"build": "./nowhere"}})
    assert built(shop, "web") == ({"base", "app"} if app else {"base"})
    assert shop.running() == {"web"}, "what is only built is not started"
    assert set(generations.current(shop.context.world, "shop").services) == {"web"}
    assert {lease.key.service for lease in shop.store.leases("shop")} == set()
    assert built(shop, "web") == set(), "nothing has changed"


def test_who_runs_the_image_that_was_built_for_another_service_has_not_drifted(shop):
    images_from(shop, base="FROM app:1\n", app="FROM base:dev\n")
    base = {"build": "./base", "image": "base:dev"}
    shop.write({"base": base, "web": {"build": "./app", "image": "app:dev"}})
    shop.up()
    before = shop.ids()
    (shop.folder / "base" / "Dockerfile").write_text('FROM app:1\nLABEL a=b\nCMD ["sleep", "600"]\n')
    assert built(shop, "web") == {"base", "app"}
    assert shop.drift() == (), "its generation is what it runs"
    assert {name for name, one in shop.ids().items() if before[name] != one} == {"web"}
    shop.up()
    assert {name for name, one in shop.ids().items() if before[name] != one} == {"base", "web"}


def test_init_containers_of_what_stays_keep_their_images(shop):
    shop.machine.add_image("seed:1", ["true"])
    shop.write({"web": SEEDED, "other": IMAGE})
    shop.up()
    tag = generations.current(shop.context.world, "shop").images["web.pre_start.0"].tag
    for level in range(12):  # until the generation that was made with it is gone
        shop.write({"web": SEEDED, "other": {**IMAGE, "environment": {"LEVEL": str(level)}}})
        shop.up("other")
    assert shop.context.world.engine.image(tag) is not None
    assert generations.current(shop.context.world, "shop").images["web.pre_start.0"].tag == tag


def test_what_an_init_container_uses_comes_with_its_service():
    first = {"secrets": [{"source": "key"}], "volumes": [{"type": "volume", "source": "seeds", "target": "/s"}]}
    services = {"web": {"image": "app:1", "pre_start": [{"command": ["true"], **first}]}, "other": {"image": "app:1"}}
    things = {"secrets": {"key": {"file": "/key"}, "not": {"file": "/not"}}, "volumes": {"seeds": {}, "not": {}}}
    config = {"name": "shop", "services": services, **things}
    definition = reading.read_definition(config, {}, {}, {}, Source(directory="/shop"))
    found = part.part_of(definition, {"web"}).config
    assert (set(found["secrets"]), set(found["volumes"])) == ({"key"}, {"seeds"})
    kept = part.Kept(services=definition.services, config=config)
    whole = part.joined({"services": {}}, kept)
    assert {"key"} == set(whole["secrets"])
    assert {"seeds"} == set(whole["volumes"])


@pytest.mark.parametrize(("asked", "pulled"), [((), True), (("web",), True), (("other",), False)])
def test_the_image_of_an_init_container_is_pulled_with_its_service(shop, asked, pulled):
    shop.machine.registry["seed:1"] = shop.machine.image("app:2")
    shop.machine.registry["app:1"] = shop.machine.image("app:1")
    shop.write({"web": SEEDED, "other": IMAGE})
    request = UpRequest(source=Source(directory=shop.folder), images=ImageWish(pull="always", complete=False))
    _, made = asyncio.run(pull_services(shop.context, request, asked, dependencies=False))
    assert ("web.pre_start.0" in made) == pulled
    assert (shop.context.world.engine.image("seed:1") is not None) == pulled


def test_an_image_that_only_an_init_container_wants_by_time_is_dated_when_it_is_pulled():
    services = {"web": {"image": "app:1", "pre_start": [{"image": "seed:1", "pull_policy": "daily"}]}}
    definition = reading.read_definition({"name": "shop", "services": services}, {}, {}, {}, Source(directory="/shop"))
    assert images.going_by_time(definition) == {"seed:1"}


@pytest.mark.parametrize("kind", ["secrets", "configs", "volumes"])
def test_another_thing_of_an_init_container_is_a_change_of_its_service(kind):
    use = {"type": "volume", "source": "it", "target": "/it"} if kind == "volumes" else {"source": "it"}
    first = {"command": ["true"], kind: [use]}

    def digests(thing: dict[str, Any], pre_start: list[dict[str, Any]]) -> dict[str, str]:
        services = {"web": {"image": "app:1", **({"pre_start": pre_start} if pre_start else {})}}
        config = {"name": "shop", "services": services, kind: {"it": thing}}
        definition = reading.read_definition(config, {}, {}, {}, Source(directory="/shop"))
        return composing.compose_config(definition, (), {}, "home")[1]

    one, two = ({"name": "a"}, {"name": "b"}) if kind == "volumes" else ({"file": "/a"}, {"file": "/b"})
    assert digests(one, [first]) != digests(two, [first])
    assert digests(one, []) == digests(two, []), "nobody uses it"


def test_a_build_gets_the_variables_of_its_own_secrets_from_the_project_s_env_file(shop, monkeypatch):
    """Compose builds from our own file, and so does not read the project's `.env`."""
    given: list[dict[str, str]] = []
    real = FakeCompose.build

    def build(self: FakeCompose, *call: Any) -> None:
        given.append(dict(call[4]))
        real(self, *call[:4])

    monkeypatch.setattr(FakeCompose, "build", build)
    (shop.folder / "Dockerfile").write_text('FROM app:1\nCMD ["sleep", "600"]\n')
    (shop.folder / ".env").write_text("TOKEN=of-the-build\nPASSWORD=of-nobody\n")
    secrets = {"token": {"environment": "TOKEN"}, "password": {"environment": "PASSWORD"}}
    web = {"build": {"context": ".", "secrets": [{"source": "token"}]}}
    shop.write({"web": web, "plain": {"build": {"context": "."}}}, secrets=secrets)
    shop.up()
    assert sorted(given, key=len) == [{}, {"TOKEN": "of-the-build"}]
