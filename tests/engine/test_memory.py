"""A lack of memory before a start, on the real engine: what is said, waited for, refused, and learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from moorage.errors import MemoryShortageError
from moorage.model.request import RollbackRequest, StartRequest, StopRequest
from moorage.work.operations.rollback import rollback
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.queries.usage import Meter
from moorage.work.runs.context import Context
from moorage.work.runs.memory import learn

pytestmark = pytest.mark.engine

MB = 10**6
_DAY = timedelta(days=1)
WEB = """
    services:
      web: {image: "${TINY_IMAGE}", command: [sleep, infinity], init: true, stop_grace_period: 0s}
      fat: {image: "${TINY_IMAGE}", command: [sleep, infinity], init: true, stop_grace_period: 0s, mem_limit: 600m}
"""
LEAN = WEB.replace(", mem_limit: 600m", "")


def short(s, how: str, free: int | list[int], wait_s: float = 600.0):
    """The stack on a machine with so much free memory; a list: the one look after the other."""
    looks = iter(free) if isinstance(free, list) else None
    settings = s.world.settings.model_copy(update={"memory": how, "memory_wait_s": wait_s})
    s.world = replace(s.world, settings=settings, free_bytes=lambda: next(looks) if looks else free)
    return s


def said(s) -> list[str]:
    return [event.message for event in s.events if "of memory" in event.message or "enough memory" in event.message]


async def test_it_warns_and_names_the_idlest_stack_and_starts(stack):
    other = stack(WEB, "other")
    await other.up()
    s = short(stack(WEB), "warn", 100 * MB)
    await s.up()
    (words,) = said(s)
    assert words.startswith(f"{s.name}: it needs 629.1MB of memory (fat 629.1MB by its limit), and 100.0MB is free.")
    assert f"`moorage stop --name {other.name}` frees" in words
    assert len(s.ids()) == 2
    await s.up()
    assert said(s) == [], "nothing starts, so nothing is needed"
    for one in (s, other):
        await one.down(volumes=True, release_ports=True)


async def test_it_refuses_before_anything_is_touched(stack):
    s = stack(LEAN)
    await s.up()
    before = s.ids()
    s.compose(WEB.replace("web:", "more:"))
    error = await short(s, "refuse", 100 * MB).fails(MemoryShortageError)
    assert (error.exit_code, error.fields["missing_bytes"]) == (5, 629_145_600 - 100 * MB)
    assert "nothing was started" in str(error)
    assert s.ids() == before
    assert s.world.store.unfinished_runs(s.name) == ()
    await s.down(volumes=True, release_ports=True)


async def test_so_do_start_and_rollback(stack):
    s = stack(WEB)
    await s.up()
    s.compose(LEAN)
    await s.up()
    await s.up()
    await stop(Context(s.world), StopRequest(stack=s.name))
    short(s, "refuse", 100 * MB)
    with pytest.raises(MemoryShortageError):
        await rollback(Context(s.world), RollbackRequest(stack=s.name, to=1))
    await start(Context(s.world), StartRequest(stack=s.name))
    await stop(Context(s.world), StopRequest(stack=s.name))
    s.world.store.note_peaks(s.name, {"web": 300 * MB}, s.world.clock.now(), valid=_DAY)
    with pytest.raises(MemoryShortageError, match="as was seen"):
        await start(Context(s.world), StartRequest(stack=s.name))
    assert {one.status for one in s.containers()} == {"exited"}
    await s.down(volumes=True, release_ports=True)


async def test_it_waits_until_there_is_enough(stack):
    s = short(stack(WEB), "wait", [100 * MB, 100 * MB, 900 * MB])
    await s.up()
    waiting, enough = said(s)
    assert waiting.startswith("waiting: ")
    assert enough == "there is enough memory now"
    await s.down(volumes=True, release_ports=True)


async def test_it_does_not_wait_for_ever(stack, machine_state):
    s = short(stack(WEB), "wait", 100 * MB, wait_s=0)
    await s.fails(MemoryShortageError)
    machine_state.assert_same()


async def test_what_is_not_known_stops_nothing(stack):
    s = stack(WEB)
    settings = s.world.settings.model_copy(update={"memory": "refuse"})
    s.world = replace(s.world, settings=settings, free_bytes=lambda: None)
    await s.up()
    await s.down(volumes=True, release_ports=True)


async def test_what_services_take_is_learnt(stack):
    s = stack(LEAN)
    await s.up()
    meter = Meter(s.world, [s.name])
    learn(s.world, await meter.look())
    known = s.world.store.peaks(s.name)
    assert known.keys() == {"web", "fat"}
    assert all(taken > 0.1 * MB for taken in known.values())
    for passed, kept in ((29, True), (31, False)):
        before = s.world.clock.now() - passed * _DAY
        s.world.store.note_peaks(s.name, {"web": 10**12}, before, valid=0 * _DAY)
        learn(s.world, await meter.look())
        assert (s.world.store.peaks(s.name)["web"] == 10**12) == kept, "a service may have become smaller"
    await s.down(volumes=True, release_ports=True)
    assert s.world.store.peaks(s.name) == {}


def test_the_command_learns_and_refuses(project):
    project.compose(LEAN)
    project.moorage("up")
    project.moorage("stats", "--no-stream")
    project.compose(WEB.replace("600m", "4000g"))
    project.env["MOORAGE_MEMORY"] = "refuse"
    done = project.moorage("up", "--json", exit_code=5)
    found = json.loads(done.stdout)
    assert (found["error"], found["idlest"]) == ("MemoryShortageError", found["idlest"])
    assert project.moorage("status", "--json").json["generation"] == 1
    project.env["MOORAGE_MEMORY"] = "warn"
    assert "of memory (fat 4.3TB by its limit)" in project.moorage("up").stderr.replace("\n", " ")
    project.moorage("down", "--volumes", "--release-ports")
