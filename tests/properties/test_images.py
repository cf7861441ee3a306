"""Images of a stack in whole starts, on a machine in memory: in order, for all who share them, again where they changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import DefinitionError, ImageError, MoorageError, UnsupportedByBackendError
from moorage.model.definition import Source
from moorage.model.event import Action, Event
from moorage.model.image import ImageWish
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.build import build_services, pull_services
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from tests.properties.memory import CLOCK, SLEEP, service
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")


@pytest.fixture
def stack():
    made = Transactions()
    made.begin()
    yield made
    made.teardown()


def built(text: str = "FROM app:1", **more: Any) -> dict[str, Any]:
    return {"build": {"context": ".", "dockerfile_inline": f'{text}\nCMD ["sleep", "600"]'}, **more}


def asked(stack: Transactions, **more: Any) -> UpRequest:
    return UpRequest(source=Source(directory=stack.folder), **more)


def done(events: list[Event]) -> list[str]:
    """The steps that made images, in order, and what was done to containers."""
    return [e.step for e in events if e.action == Action.DONE and e.step.split()[0] in ("build", "pull", "start")]


def brought_up(stack: Transactions, services: dict[str, Any], **more: Any) -> list[str]:
    stack.write(services)
    events: list[Event] = []
    asyncio.run(up(Context(replace(stack.world(), emit=events.append)), asked(stack, **more)))
    return done(events)


def ids(stack: Transactions) -> dict[str, str]:
    return {box.labels["com.docker.compose.service"]: box.image_id for box in stack.machine.boxes.values()}


def test_one_builds_and_the_other_uses(stack: Transactions) -> None:
    services = {"api": {"image": "own:1", "command": SLEEP}, "web": built(image="own:1")}
    assert brought_up(stack, services)[0] == "build web"
    assert brought_up(stack, services) == []
    first = ids(stack)
    assert first["api"] == first["web"]
    services["web"] = built("FROM app:1\nLABEL a=1", image="own:1")
    assert brought_up(stack, services) == ["build web", "start api", "start web"]
    assert ids(stack)["api"] == ids(stack)["web"] != first["web"]


def test_what_an_image_is_based_on_is_built_first_and_carries_on(stack: Transactions) -> None:
    services = {
        "app": built("FROM own:base", image="own:app", depends_on=["base"]),
        "base": built(image="own:base", depends_on=[]),
    }
    assert brought_up(stack, services)[:2] == ["build base", "build app"]
    assert brought_up(stack, services) == []
    services["base"] = built("FROM app:1\nLABEL a=1", image="own:base")
    assert brought_up(stack, services) == ["build base", "build app", "start base", "start app"]
    assert brought_up(stack, services) == []


def test_a_base_image_that_is_another_one_now_is_a_reason_to_build(stack: Transactions) -> None:
    services = {"web": built("FROM app:1")}
    brought_up(stack, services)
    stack.machine.add_image("app:1", SLEEP, labels={"newer": "yes"})
    assert brought_up(stack, services) == ["build web", "start web"]
    assert brought_up(stack, services) == []


def test_two_copies_of_a_project_do_not_take_turns(stack: Transactions) -> None:
    services = {"web": built(image="own:1")}
    (stack.folder / "context").mkdir()
    (stack.folder / "context/Dockerfile").write_text('FROM app:1\nCMD ["sleep", "600"]')
    brought_up(stack, services)
    made = stack.machine.image("own:1")
    brought_up(stack, services, name="copy")
    assert stack.machine.image("own:1") is made


def test_an_image_that_is_pulled_daily(stack: Transactions) -> None:
    services = {"web": service(image="far:1", pull_policy="daily"), "api": service(image="far:1")}
    assert brought_up(stack, services) == ["pull api", "start api", "start web"]
    CLOCK.advance(3600)
    assert brought_up(stack, services) == []
    CLOCK.advance(24 * 3600)
    assert brought_up(stack, services)[0] == "pull web"
    assert brought_up(stack, services) == [], "it is dated anew, though it is the same"


def test_the_undo_tells_of_the_images_that_stay(stack: Transactions) -> None:
    stack.write({"web": built(), "api": service(image="fails:1", depends_on=["web"])})
    events: list[Event] = []
    with pytest.raises(MoorageError):
        asyncio.run(up(Context(replace(stack.world(), emit=events.append)), asked(stack)))
    told = [event.message for event in events if event.action == Action.UNDONE]
    assert told == ["undone: nothing of this run is left but the image of web, for the next start"]
    assert stack.machine.image("shop-web")


def test_dagger_does_not_see_what_was_built_for_the_engine(stack: Transactions) -> None:
    stack.write({"app": built("FROM own:base", image="own:app"), "base": built(image="own:base")})
    with pytest.raises(UnsupportedByBackendError, match=r"services\.app\.build: dagger .* services\.base builds"):
        asyncio.run(up(Context(stack.world()), asked(stack, builder="dagger")))


# --- the verbs ----------------------------------------------------------------------------------------------------


def built_by_verb(stack: Transactions, *names: str, dependencies: bool = False, **wish: Any) -> list[str]:
    wanted = ImageWish(build=frozenset(names) or None, complete=False, **wish)
    request = asked(stack, images=wanted)
    return asyncio.run(build_services(Context(stack.world()), request, names, dependencies=dependencies))[1]


def pulled_by_verb(stack: Transactions, *names: str, dependencies: bool = False, policy: str = "always") -> list[str]:
    request = asked(stack, images=ImageWish(pull=policy, complete=False))
    return asyncio.run(pull_services(Context(stack.world()), request, names, dependencies=dependencies))[1]


def test_build(stack: Transactions) -> None:
    stack.write(
        {
            "app": built("FROM own:base", image="own:app", depends_on=["side"]),
            "base": built(image="own:base"),
            "side": built(),
            "user": {"image": "own:app"},
            "db": service(image="far:1"),
        }
    )
    assert built_by_verb(stack, "app") == ["base", "app"], "with what it is based on, where that is not there"
    assert built_by_verb(stack, "app") == ["app"]
    assert built_by_verb(stack, "user") == [], "it has nothing to build, and the image is there"
    assert built_by_verb(stack, "app", dependencies=True) == ["side", "app"]
    assert sorted(built_by_verb(stack)) == ["app", "base", "side"]
    assert built_by_verb(stack, "db") == []
    assert stack.machine.of_project("shop") == []
    with pytest.raises(DefinitionError, match="no service 'ap'") as caught:
        built_by_verb(stack, "ap")
    assert '"app"' in str(caught.value.hint)


def test_pull(stack: Transactions) -> None:
    stack.write(
        {
            "app": built(image="own:app", depends_on=["db"]),
            "user": {"image": "own:app"},
            "db": service(image="far:1"),
            "mine": service(image="app:2", pull_policy="never"),
        }
    )
    assert pulled_by_verb(stack, "app") == [], "it is built"
    assert pulled_by_verb(stack, "app", dependencies=True) == ["db"]
    assert pulled_by_verb(stack, policy="missing") == []
    assert pulled_by_verb(stack) == ["db"]
    assert pulled_by_verb(stack, "mine") == []


def test_a_pull_of_what_is_nowhere_fails(stack: Transactions) -> None:
    stack.write({"web": service(image="nowhere:1")})
    with pytest.raises(ImageError, match=r"services\.web: pull failed"):
        pulled_by_verb(stack)
