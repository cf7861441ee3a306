"""What others do to a stack while a run is at it, or between two runs: a clear reason, and nothing is left half done.

A port that is stolen between lease and start: `test_ports.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import (
    DefinitionError,
    HomeError,
    ImageError,
    MoorageError,
    NotReadyError,
    RunError,
    UndoIncompleteError,
)
from moorage.model.event import Action, Event
from moorage.model.request import RestartRequest, RollbackRequest, SweepRequest
from moorage.model.state import StackState
from moorage.rules import labels
from moorage.work.operations.restart import restart
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.engine.conftest import Stack

pytestmark = pytest.mark.engine

TWO = """
    services:
      db: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s, volumes: ["data:/data"],
           x-moorage: {ready: {exec: "true"}}}
      web: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s, depends_on: [db], ports: ["80"],
            x-moorage: {ready: {exec: "test -f /ready || { touch /ready; sleep 1; }"}}}
    volumes: {data: {}}
"""
BUILT = TWO.replace('web: {image: "${TINY_IMAGE}"', "web: {build: .")


def at(s, step: str, action: Action, deed: Callable[[], Any]) -> None:
    """From now on, the first time that this is told of the stack's run, `deed` is done before the run goes on."""
    done: list[bool] = []

    def emit(event: Event) -> None:
        s.events.append(event)
        if not done and (event.step, event.action) == (step, action):
            done.append(True)
            deed()

    s.world = replace(s.world, emit=emit)


@contextmanager
def undone(s, machine_state) -> Iterator[None]:
    """All is afterwards as it was before."""
    before = (machine_state.now(), s.ids(), s.leases, s.world.store.stack(s.name), tags(s))
    yield
    assert (machine_state.now(), s.ids(), s.leases, s.world.store.stack(s.name), tags(s)) == before
    assert s.world.store.unfinished_runs(s.name) == ()


def tags(s) -> tuple[str, ...]:
    return s.world.engine.tags(labels.pin_prefix(s.name))


def states(s) -> dict[str, str]:
    return {c.labels[labels.COMPOSE_SERVICE]: c.status for c in s.containers()}


async def gone(s) -> None:
    """No trace of it."""
    await s.down(volumes=True, release_ports=True)


# --- a container that somebody removes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "action", "kind"),
    [
        pytest.param("create", Action.DONE, RunError, marks=pytest.mark.exhaustive),
        ("start db", Action.STARTED, RunError),
        ("ready web", Action.STARTED, NotReadyError),
    ],
)
async def test_during_an_up(step, action, kind, stack, machine_state):
    s = stack(TWO)
    victim = "db" if step == "start db" else "web"
    at(s, step, action, lambda: s.container(victim).remove(force=True))
    with undone(s, machine_state):
        error = await s.fails(kind)
    assert (error.fields["service"], error.fields["reason"]) == (victim, "removed")
    assert (await s.up()).state == "running"
    await gone(s)


@pytest.mark.exhaustive
async def test_during_a_change(stack, machine_state):
    """The generation before comes back whole: also what it was not the run that removed."""
    s = stack(TWO)
    await s.up()
    s.sh("db", "echo precious > /data/file")
    s.compose(TWO.replace("depends_on: [db]", "depends_on: [db], environment: {A: b}"))
    at(s, "ready web", Action.STARTED, lambda: [s.container(name).remove(force=True) for name in ("web", "db")])
    await s.fails(NotReadyError)
    found = await s.status()
    assert (found.state, found.generation) == ("running", 1)
    assert s.sh("db", "cat /data/file") == "precious"
    assert s.world.store.unfinished_runs(s.name) == ()
    await gone(s)


@pytest.mark.parametrize(
    "operation",
    ["down", "up", *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("stop", "start", "restart"))],
)
async def test_between_two_runs(operation, stack, machine_state, free_ports):
    s = stack(TWO.replace('ports: ["80"]', f'ports: ["{free_ports()}:80"]'))
    await s.up()
    ports = s.ports
    s.container("web").remove(force=True)
    match operation:
        case "down":
            await s.down()
            assert machine_state.now() == {"containers": set(), "networks": set(), "volumes": {f"{s.name}_data"}}
        case "stop":
            await s.stop()
            assert states(s) == {"db": "exited"}
        case "start":
            with pytest.raises(DefinitionError, match="web has no container to start"):
                await s.start()
            assert s.world.store.unfinished_runs(s.name) == ()
        case "restart":
            found = (await restart(Context(s.world), RestartRequest(stack=s.name))).status
            assert found.state == "running"
    assert (await s.up()).state == "running"
    assert s.ports == ports
    await gone(s)


async def test_all_of_it_and_the_network(stack, machine_state, free_ports):
    """As `docker rm -f` and `docker network rm` leave it; the next `up` makes all anew, on the same ports."""
    s = stack(TWO.replace('ports: ["80"]', f'ports: ["{free_ports()}:80"]'))  # nobody else here wants it
    await s.up()
    s.sh("db", "echo precious > /data/file")
    ports = s.ports
    for container in s.containers():
        container.remove(force=True)
    s.client.networks.get(f"{s.name}_default").remove()
    assert (await s.status()).state == "absent"
    assert (await s.up()).state == "running"
    assert (s.ports, s.sh("db", "cat /data/file")) == (ports, "precious")
    await gone(s)


async def test_a_network_between_create_and_start(stack, machine_state):
    s = stack(TWO)
    at(s, "create", Action.DONE, lambda: s.client.networks.get(f"{s.name}_default").remove())
    with undone(s, machine_state):
        error = await s.fails(RunError)
    assert error.fields["reason"] == "not started"
    assert f"{s.name}_default" in str(error)


# --- an image ------------------------------------------------------------------------------------------------


def built(s, text: str) -> str:
    """Write a Dockerfile; gives the name that Compose builds it under."""
    s.write("Dockerfile", f"FROM {os.environ['TINY_IMAGE']}\nRUN echo {text} > /version\n")
    return f"{s.name}-web"


async def test_an_image_between_build_and_create(stack, machine_state):
    s = stack(BUILT)
    name = built(s, "one")
    at(s, "build web", Action.DONE, lambda: s.client.images.remove(name, force=True))
    with undone(s, machine_state):
        error = await s.fails(ImageError)
    assert error.exit_code == 5
    assert error.fields["service"] == "web"
    assert "gone" in str(error)
    assert (await s.up()).state == "running"
    await gone(s)


@pytest.mark.exhaustive
async def test_images_of_earlier_generations_are_kept_alive(stack, machine_state):
    """Somebody removes the names that Compose gave; a failed change and a rollback still have the images."""
    s = stack(BUILT)
    name = built(s, "one")
    await s.up()
    first = s.container("web").image.id
    built(s, "two")
    await s.up()
    s.client.images.remove(name, force=True)
    s.compose(
        BUILT.replace("command: [sleep, infinity], stop_grace_period: 0s, depends_on", "command: [false], depends_on")
    )
    at(s, "build web", Action.DONE, lambda: s.client.images.remove(name, force=True))
    with suppress(MoorageError):
        await s.up()
    assert s.sh("web", "cat /version") == "two"
    assert (await s.status()).generation == 2
    from moorage.work.operations.rollback import rollback

    await rollback(Context(s.world), RollbackRequest(stack=s.name, to=1))
    assert (s.sh("web", "cat /version"), s.container("web").image.id) == ("one", first)
    await gone(s)


# --- the disk of $MOORAGE_HOME -------------------------------------------------------------------------------


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Path]:
    """A home on a disk of its own that can be filled; for root."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    yield place / "home"
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(home: Path) -> None:
    with (home.parent / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def free(home: Path) -> None:
    (home.parent / "filler").unlink()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("step", "action"),
    [
        pytest.param("lease", Action.DONE, id="before create"),
        pytest.param("create", Action.DONE, id="after create"),
        pytest.param("ready web", Action.DONE, id="before the commit"),
    ],
)
async def test_a_disk_that_fills_up_during_an_up(step, action, stack, settings, small_home, machine_state):
    """Its containers go, whatever can be written down; what could not be is done by whoever comes next."""
    s = stack(TWO)
    s.world = open_world(s.events.append, settings.model_copy(update={"home": small_home}))
    await s.up()
    await gone(s)
    at(s, step, action, lambda: fill(small_home))
    with pytest.raises(MoorageError) as caught:
        await s.up()
    assert isinstance(caught.value, HomeError | RunError | UndoIncompleteError)
    assert "space" in f"{caught.value} {caught.value.hint}" or "disk" in str(caught.value)
    assert machine_state.now()["containers"] == set()
    free(small_home)
    assert not [one for one in await sweep(Context(s.world), SweepRequest()) if one.error]
    machine_state.assert_same()
    assert (s.leases, s.world.store.stack(s.name), s.world.store.unfinished_runs(), tags(s)) == ({}, None, (), ())
    assert (await s.up()).state == "running"
    await gone(s)


async def test_a_disk_that_is_full_from_the_start(stack, settings, small_home, machine_state):
    s = stack(TWO)
    s.world = open_world(s.events.append, settings.model_copy(update={"home": small_home}))
    await s.up()
    fill(small_home)
    for operation in (s.down, s.stop, lambda: s.up(force_recreate=True)):
        ids = s.ids()
        with pytest.raises(HomeError) as caught:
            await operation()
        assert "space" in f"{caught.value} {caught.value.hint}"
        assert s.ids() == ids, "nothing is touched that cannot be written down"
    assert (await s.status()).state == "running"
    free(small_home)
    await gone(s)
    machine_state.assert_same()


async def test_two_homes_and_one_name_at_the_same_moment(stack, tmp_path, settings):
    """Homes do not know of each other; one of them has the name, the other is told so and has touched nothing."""
    text = 'services: {{web: {{image: "${{TINY_IMAGE}}", command: [sleep, "{}"], stop_grace_period: 0s}}}}'
    one = stack(text.format(600))
    place = tmp_path / "other" / one.name
    place.mkdir(parents=True)
    world = open_world(lambda _event: None, settings.model_copy(update={"home": tmp_path / "other-home"}))
    other = Stack(place, one.name, world, one.client, []).compose(text.format(601))
    try:
        answers = await asyncio.gather(one.up(), other.up(), return_exceptions=True)
        (error,) = [answer for answer in answers if isinstance(answer, Exception)]
        winner, loser = (one, other) if isinstance(answers[1], Exception) else (other, one)
        assert isinstance(error, DefinitionError), error
        assert f"stack {one.name!r} belongs to {winner.path}" in str(error)
        assert one.container("web").attrs["Config"]["Cmd"][1] == ("600" if winner is one else "601")
        assert (await winner.status()).state == StackState.RUNNING
        assert (loser.leases, loser.world.store.runs(None)) == ({}, ())
        await winner.down(volumes=True, release_ports=True)
    finally:
        world.store.close()
