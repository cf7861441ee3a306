"""What the arguments of a verb are about: services, and the stack that is named with `--name`."""

from __future__ import annotations

import asyncio
import json

import pytest

from moorage.cli.options import Selection
from moorage.cli.target import target_of, told_from_stacks, whole_stack_of
from moorage.errors import DefinitionError
from moorage.model.definition import Source
from moorage.rules import labels
from moorage.testing import FakeMachine, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.up import up
from moorage.work.runs.context import Context


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two stacks: shop, of the working directory, with services web and db; and web, elsewhere."""
    machine = FakeMachine()
    machine.add_image("app:1", ["sleep", "600"])
    made = fake_world(machine, MemoryStore(), MemoryFiles())
    for stack, services in (("shop", ("web", "db")), ("web", ("api",)), ("blog", ("api",))):
        folder = tmp_path_factory.mktemp(stack)
        text = {"name": stack, "services": {name: {"image": "app:1"} for name in services}}
        (folder / "compose.yaml").write_text(json.dumps(text))
        asyncio.run(up(Context(made), UpRequest(source=Source(directory=folder))))
    marks = {labels.COMPOSE_PROJECT: "plain", labels.COMPOSE_ONEOFF: "False", labels.COMPOSE_DIRECTORY: "/old"}
    made.engine.hold("plain-web-1", "app:1", marks, {})
    return made


@pytest.fixture
def here(world, monkeypatch):
    monkeypatch.chdir(world.store.stack("shop").path)


def of(world, *words, name=None, **how):
    return target_of(world, Selection(name=name), words, **how)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "name", "stack", "services"),
    [
        ((), None, "shop", ()),
        (("web",), None, "shop", ("web",)),  # though there is a stack of that name
        (("web", "db", "web"), None, "shop", ("web", "db")),
        ((), "web", "web", ()),
        (("api",), "web", "web", ("api",)),
        (("blog",), None, "blog", ()),  # as it used to be
        (("shop",), None, "shop", ()),
    ],
)
def test_what_is_meant(world, words, name, stack, services):
    assert of(world, *words, name=name, stack_too=True) == (stack, services)
    assert of(world, *words, name=name, stack_too=True, absent=True) == (stack, services)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "name", "message", "hint"),
    [
        (("weeb",), None, "no service 'weeb'", 'Did you mean "web"?'),
        (("blgo",), None, "no service 'blgo' here, and no stack of that name", 'Did you mean "blog"?'),
        (("zzz",), None, "no service 'zzz' here", "There are: blog, db, shop, web."),
        (("web", "dbb"), None, "shop: no service 'dbb'", 'Did you mean "db"?'),
        (("blog", "web"), None, "shop: no service 'blog'", "It is a stack: `--name blog` names it."),
        ((), "blgo", "there is no stack 'blgo'", 'Did you mean "blog"?'),
        (("api",), "shpo", "there is no stack 'shpo'", 'Did you mean "shop"?'),
        (("apii",), "web", "web: no service 'apii'", 'Did you mean "api"?'),
        ((), "plain", "'plain' is a plain Compose project", "`docker compose -p plain down` ends it"),
        (("plain",), None, "'plain' is a plain Compose project", "`docker compose -p plain down` ends it"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_was_meant(world, words, name, message, hint):
    for absent in (False, True):
        with pytest.raises(DefinitionError) as raised:
            of(world, *words, name=name, stack_too=True, absent=absent)
        assert message in str(raised.value)
        assert hint in raised.value.hint
        assert raised.value.exit_code == 2


def test_a_stack_where_up_expects_a_service(world):
    for name, hint in (("blog", "It is a stack: `--name blog` names it."), ("blgo", "as it was")):
        with pytest.raises(DefinitionError) as raised, told_from_stacks(world, [name]):
            raise DefinitionError(f"no service {name!r}", service=name, hint="as it was")
        assert raised.value.hint == hint


def test_where_there_is_no_project_a_stack_can_be_named(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert of(world, "blog", stack_too=True) == ("blog", ())
    assert of(world, name="blog") == ("blog", ())
    with pytest.raises(DefinitionError, match="there is no stack 'web2'"):
        of(world, "web2", stack_too=True)


@pytest.mark.usefixtures("here")
def test_verbs_about_a_whole_stack(world):
    assert whole_stack_of(world, Selection(), None, "history") == "shop"
    assert whole_stack_of(world, Selection(), "blog", "history") == "blog"
    assert whole_stack_of(world, Selection(name="web"), None, "history") == "web"
    for selection, word in ((Selection(), "web"), (Selection(name="web"), "api")):
        with pytest.raises(DefinitionError, match="it is about a whole stack, not about services"):
            whole_stack_of(world, selection, word, "history")
    with pytest.raises(DefinitionError, match="there is no stack 'blg'"):
        whole_stack_of(world, Selection(), "blg", "history")


def test_a_stack_that_is_not_up_yet_is_no_error_for_down_and_status(world, tmp_path, monkeypatch):
    (tmp_path / "compose.yaml").write_text('{"name": "fresh", "services": {"web": {"image": "app:1"}}}')
    monkeypatch.chdir(tmp_path)
    assert of(world, absent=True, stack_too=True) == ("fresh", ())
    assert of(world, name="fresh", absent=True) == ("fresh", ())
    with pytest.raises(DefinitionError, match="there is no stack 'fresh'"):
        of(world)
