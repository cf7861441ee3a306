"""Intermediate containers of failed builds: removed if they can be no other, also those of a process that was killed."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.errors import ImageError
from moorage.rules import labels
from moorage.testing import FakeMachine, MemoryFiles, MemoryStore, fake_world
from moorage.testing.machine import Box
from moorage.work.runs import intermediate


@pytest.fixture
def world():
    machine = FakeMachine()
    machine.add_image("tiny:1")
    return fake_world(machine, MemoryStore(), MemoryFiles(Path("/memory")))


def container(world, *, ago_s: float = 0.0, state: str = "exited", marks: dict[str, str] | None = None) -> Box:
    machine = world.engine.machine
    image = machine.image("tiny:1")
    box = machine.add_box(Box(machine.new_id()[:12], "clever_name", image.id, marks or {}, ("false",), state=state))
    box.created_at = world.clock.now() - timedelta(seconds=ago_s)
    return box


def fail(world, said: list[str], **of_container):
    """A build that says this, `{}` being a container's id, and fails; gives whether the container is still there."""
    with suppress(ImageError), intermediate.removed(world, "shop", "web") as look:
        box = container(world, **of_container)
        for line in said:
            look(line.format(box.id))
        raise ImageError("failed")
    assert list(world.files.names("generations/shop")) == []
    return world.engine.inspect(box.id) is not None


BY_ENGINE = ["Step 2/2 : RUN false", " ---> Running in {}"]


def test_the_container_of_the_step_that_failed_goes(world):
    assert not fail(world, BY_ENGINE)


def test_that_of_a_step_that_runs_nothing_goes(world):
    """`ENV` and the like have one too; it is left if the build is broken off meanwhile."""
    assert not fail(world, BY_ENGINE, state="created")


def test_that_of_a_base_that_compose_has_built_goes_too(world):
    marks = {labels.COMPOSE_PROJECT: "shop", labels.COMPOSE_SERVICE: "base", labels.BUILD: "1"}
    assert not fail(world, BY_ENGINE, marks=marks)


@pytest.mark.parametrize(
    "kept",
    [
        {"ago_s": 60.0},
        {"marks": {labels.COMPOSE_NUMBER: "1"}},
        {"marks": {labels.STACK: "other"}},
        {"marks": {labels.HELPER: "other"}},
    ],
)
def test_what_may_be_somebody_s_stays(world, kept):
    """A Dockerfile can print any id."""
    assert fail(world, BY_ENGINE, **kept)


@pytest.mark.parametrize("line", ["Running in {}", "x ---> Running in {}", "#5 sha256:{}"])
def test_other_lines_say_nothing(world, line):
    assert fail(world, [line])


def test_nothing_is_done_if_the_build_succeeds(world):
    with intermediate.removed(world, "shop", "web") as look:
        box = container(world)
        look(f" ---> Running in {box.id}")
    assert world.engine.inspect(box.id)
    assert list(world.files.names("generations/shop")) == []


def test_the_next_command_finds_that_of_a_process_that_was_killed(world):
    box, began = container(world), world.clock.now() - timedelta(seconds=5)
    noted = {"began": began.isoformat(), "container": box.id}
    world.files.write("generations/shop/web.building.json", json.dumps(noted))
    world.files.write("generations/shop/api.building.json", '{"began"')
    world.files.write("generations/shop/1.json", "{}")
    intermediate.remove_left_behind(world, "shop")
    assert world.engine.inspect(box.id) is None
    assert list(world.files.names("generations/shop")) == ["generations/shop/1.json"]
