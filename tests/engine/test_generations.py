"""Generations on the real engine: numbered, pinned, pruned with their image tags; leases that come back with an undo."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import DefinitionError, NotReadyError
from moorage.model.event import Action
from moorage.model.request import RollbackRequest
from moorage.rules import labels
from moorage.work.definitions import generations
from moorage.work.operations.rollback import rollback
from moorage.work.runs.context import Context
from moorage.world import open_world

pytestmark = pytest.mark.engine

BUILT = """
    services:
      web: {{build: ., command: {command}, stop_grace_period: 0s, ports: ["{port}:80"], volumes: ["data:/data"]{more}}}
    volumes: {{data: {{}}}}
"""
SERVES = '[httpd, -f, -p, "80", -h, /etc]'


def version(s, text: str) -> None:
    """Another content of the image."""
    s.write("Dockerfile", f"FROM {os.environ['TINY_IMAGE']}\nRUN echo {text} > /version\n")


def tags(s) -> set[str]:
    return set(s.world.engine.tags(labels.pin_prefix(s.name)))


def numbers(s) -> list[int]:
    return [one.number for one in s.world.store.generations(s.name)]


def files(s) -> set[str]:
    return {name.rpartition("/")[2] for name in s.world.files.names(f"generations/{s.name}")}


def pinned(s, number: int) -> str:
    found = generations.read(s.world, s.name, number)
    assert found
    return found.images["web"].tag


async def test_old_ones_are_pruned_with_their_image_tags(stack, settings, free_ports):
    """Three are kept: the current one and the two before it; an image that nobody uses any more has no name of ours."""
    s = stack(BUILT.format(port=free_ports(), command=SERVES, more=""))
    s.world = open_world(s.events.append, settings.model_copy(update={"keep_generations": 3}))
    seen: list[str] = []
    for number in range(1, 6):
        version(s, f"v{number}")
        assert (await s.up()).generation == number
        seen.append(pinned(s, number))
        assert tags(s) == set(seen[-3:])
    assert len(set(seen)) == 5
    assert numbers(s) == [5, 4, 3]
    assert {name for name in files(s) if name[0].isdigit()} == {
        f"{number}.{ending}" for number in (3, 4, 5) for ending in ("json", "compose.json")
    }
    with pytest.raises(DefinitionError, match="2"):
        await rollback(Context(s.world), RollbackRequest(stack=s.name, to=2))
    await rollback(Context(s.world), RollbackRequest(stack=s.name, to=3))
    assert s.sh("web", "cat /version") == "v3"
    assert tags(s) == set(seen[-3:]), "going back makes no new generation and loses none"
    version(s, "v6")
    assert (await s.up()).generation == 6
    assert {3, 6} <= set(numbers(s)) or numbers(s) == [6, 5, 4]
    assert tags(s) == {pinned(s, number) for number in numbers(s)}
    await s.down(volumes=True, release_ports=True)
    assert (tags(s), numbers(s), files(s)) == (set(), [], set())


async def test_the_current_one_is_never_pruned(stack, settings, free_ports):
    """Also where it is older than all that are kept."""
    s = stack(BUILT.format(port=free_ports(), command=SERVES, more=""))
    for number in range(1, 4):
        version(s, f"v{number}")
        await s.up()
    await rollback(Context(s.world), RollbackRequest(stack=s.name, to=1))
    s.world = open_world(s.events.append, settings.model_copy(update={"keep_generations": 1}))
    generations.prune(s.world, s.name)
    assert numbers(s) == [3, 1]
    assert tags(s) == {pinned(s, 3), pinned(s, 1)}
    assert (await s.status()).generation == 1
    await s.down(volumes=True, release_ports=True)


async def test_what_fails_leaves_no_generation(stack, free_ports):
    s = stack(BUILT.format(port=free_ports(), command=SERVES, more=""))
    version(s, "v1")
    await s.up()
    before = (tags(s), numbers(s), files(s))
    version(s, "v2")
    s.compose(BUILT.format(port=s.ports["web 80/tcp"], command='["false"]', more=""))
    await s.fails(NotReadyError)
    assert (tags(s), numbers(s), files(s) - {"web.build.json"}) == (*before[:2], before[2] - {"web.build.json"})
    assert s.sh("web", "cat /version") == "v1"
    version(s, "v1")
    s.compose(BUILT.format(port=s.ports["web 80/tcp"], command=SERVES, more=""))
    containers = s.ids()
    assert (await s.up()).generation == 1
    assert s.ids() == containers, "it was built again, which made the very image that runs"
    await s.down(volumes=True, release_ports=True)


async def test_a_lease_that_was_given_up_comes_back_with_the_undo(stack, free_ports, listen):
    """A change clashes at the start, gets another port, and fails: the generation before has its own port again."""
    port = free_ports(4)
    s = stack(BUILT.format(port=port, command=SERVES, more=""))
    version(s, "v1")
    await s.up()
    before = s.leases
    never = ', healthcheck: {test: [CMD, "false"], interval: 60s}'
    s.compose(BUILT.format(port=port, command=SERVES, more=never))
    taken = replace(s.world, engine=Snatching(s.world.engine, listen, port))
    s.world, own = taken, s.world
    await s.fails(NotReadyError, wait_timeout_s=1)
    assert [event.step for event in s.events if event.action == Action.RETRY] == ["start web"]
    assert s.leases == before
    s.world = own
    found = await s.status()
    assert (found.state, found.generation) == ("running", 1)
    assert [p.published for p in found.services["web"].ports] == [port]
    await s.down(volumes=True, release_ports=True)


class Snatching:
    """The real engine; something else sits on a port from just before a container starts to just after."""

    def __init__(self, engine: Any, listen: Any, port: int) -> None:
        self._engine, self._listen, self._port = engine, listen, port
        self._done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def start(self, container: str) -> None:
        if self._done:
            return self._engine.start(container)
        self._done = True
        with self._listen(self._port, "0.0.0.0"):
            return self._engine.start(container)
