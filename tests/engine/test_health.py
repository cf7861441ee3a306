"""Health: checks that run now, drift that is found, and mended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from moorage.errors import EngineUnavailableError
from moorage.model.event import Action
from moorage.model.health import DriftKind, HealState
from moorage.model.request import HealRequest
from moorage.model.state import StackState
from moorage.model.step import Operation
from moorage.rules import drift
from moorage.work.operations.heal import heal, wants_healing
from moorage.work.queries.health import health
from moorage.work.runs.context import Context

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
SHOP = """
    x-moorage: {{heal: true}}
    services:
      db:
        image: ${{TINY_IMAGE}}
        command: sh -c 'echo ready > /state; exec sleep 600'
        init: true
        healthcheck: {{test: ["CMD", "test", "-e", "/state"], interval: 60s}}
      web:
        image: ${{TINY_IMAGE}}
        command: [httpd, -f, -p, "80", -h, /etc]
        init: true
        ports: ["{port}:80"]
        depends_on: {{db: {{condition: service_healthy}}}}
      job:
        image: ${{TINY_IMAGE}}
        command: "true"
        x-moorage: {{ready: {{exit: 0}}}}
"""


def kinds(found):
    return {one.service: one.kind for one in found.drift}


async def test_found_and_mended(stack, free_ports, docker_client):
    port = free_ports()
    s = stack(SHOP.format(port=port))
    await s.up()
    assert wants_healing(s.world, s.name)
    well = await health(s.world, s.name)
    assert well.well, well
    assert {check.service: check.check for check in well.checks} == {
        "db": "health check",
        "job": "one-shot: must complete",
        "web": "published ports",
    }
    before = s.ids()

    # The engine itself asks once a minute; the check that runs now knows.
    s.sh("db", "rm /state")
    asked = await health(s.world, s.name)
    assert not asked.ready
    assert [check.service for check in asked.checks if not check.ready] == ["db"]
    s.sh("db", "touch /state")

    # A crash.
    s.container("web").kill()
    down = await health(s.world, s.name)
    assert kinds(down) == {"web": DriftKind.DOWN}
    assert "exit code 137" in down.drift[0].what
    mended = await heal(Context(s.world), HealRequest(stack=s.name))
    assert mended.well, [event.message[-300:] for event in s.events][-2:]
    assert mended.healed == ("web",)
    assert s.ids() == before, "started again, not made anew"
    assert s.container("db").attrs["State"]["StartedAt"] < s.container("web").attrs["State"]["StartedAt"]

    # Somebody else's plain Compose makes it anew, on another port.
    s.compose(SHOP.format(port=free_ports()))
    s.world.compose.create(s.name, s.path / "compose.yaml", ["web"], True, lambda _line: None)
    s.container("web").start()
    s.compose(SHOP.format(port=port))
    strange = await health(s.world, s.name)
    assert {one.kind for one in strange.drift if one.service == "web"} >= {DriftKind.FOREIGN, DriftKind.PORT}
    mended = await heal(Context(s.world), HealRequest(stack=s.name, insist=True))
    assert mended.well, [event.message[-300:] for event in s.events][-2:]
    assert s.container("web").labels["moorage.stack"] == s.name
    assert (await s.plan()).empty

    # Its network is taken away: the port is not published any more.
    network = docker_client.networks.get(f"{s.name}_default")
    network.disconnect(s.container("web").id, force=True)
    assert DriftKind.PORT in {one.kind for one in (await health(s.world, s.name)).drift}
    assert (await heal(Context(s.world), HealRequest(stack=s.name, insist=True))).well

    # Stopped on purpose is no drift, and nothing heals it.
    await s.stop("web")
    resting = await heal(Context(s.world), HealRequest(stack=s.name))
    assert resting.well
    assert s.container("web").status == "exited"
    assert (await s.start("web")).state == StackState.RUNNING
    assert [run.operation for run in s.world.store.runs(s.name)].count(Operation.HEAL) == 3


CRASHES = """
    services:
      worker:
        image: ${TINY_IMAGE}
        command: sh -c 'test -e /broken && exit 3; exec sleep 600'
        init: true
        # Its own check, because the clock of the test jumps: for that one it has stayed up long as soon as it runs.
        x-moorage: {ready: {exec: "test ! -e /broken"}}
"""


async def test_what_does_not_stay_mended_is_tried_ever_later_then_no_more(stack):
    s = stack(CRASHES)
    await s.up()
    s.sh("worker", "touch /broken")
    s.container("worker").kill()

    class Later:
        """The time of day stands still between the tries, however slow the machine is."""

        def __init__(self, clock):
            self.clock, self.began, self.later = clock, clock.now(), timedelta()

        def now(self):
            return self.began + self.later

        def monotonic(self):
            return self.clock.monotonic()

    clock = Later(s.world.clock)
    world = replace(s.world, clock=clock)
    for attempt in range(1, drift.MOST_ATTEMPTS + 1):
        found = await heal(Context(world), HealRequest(stack=s.name))
        assert not found.well
        [treatment] = found.treatments
        assert treatment.attempts == attempt
        if attempt < drift.MOST_ATTEMPTS:
            assert treatment.state == HealState.LATER
            begun = s.container("worker").attrs["State"]["StartedAt"]
            await heal(Context(world), HealRequest(stack=s.name))
            assert s.container("worker").attrs["State"]["StartedAt"] == begun, "not hammered"
            clock.later += timedelta(seconds=drift.FIRST_PAUSE_S * 2**attempt)
    assert treatment.state == HealState.GIVEN_UP
    clock.later += timedelta(hours=5)
    s.events.clear()
    assert (await heal(Context(world), HealRequest(stack=s.name))).treatments[0].state == HealState.GIVEN_UP
    assert not s.steps(Action.STARTED)
    s.client.api.put_archive(s.container("worker").id, "/", b"\0" * 1024)
    await s.up(force_recreate=True)
    assert (await health(world, s.name)).well


async def test_a_loop_of_the_engine_is_seen(stack):
    s = stack(CRASHES + "        restart: always\n")
    await s.up()
    s.sh("worker", "touch /broken && kill -9 -1 || true")
    for _ in range(300):
        found = await health(s.world, s.name)
        # Seen between two lives, it has an exit code; seen in one, it has none.
        if any(one.kind == DriftKind.CRASH_LOOP and "last exit code 3" in one.what for one in found.drift):
            break
        await asyncio.sleep(0.2)
    assert kinds(found) == {"worker": DriftKind.CRASH_LOOP}
    assert "last exit code 3" in found.drift[0].what


async def test_of_a_crash_in_the_middle_the_next_takes_over(stack, free_ports):
    s = stack(SHOP.format(port=free_ports()))
    await s.up()
    s.container("web").kill()

    def dying(run):
        async def act(step, _needs):
            raise EngineUnavailableError(f"gone at {step.id}")

        return act

    with pytest.raises(EngineUnavailableError, match="gone at start web"):
        await heal(Context(s.world, step_runner=dying), HealRequest(stack=s.name))
    [open_run] = s.world.store.unfinished_runs(s.name)
    assert open_run.operation == Operation.HEAL
    assert (await heal(Context(s.world), HealRequest(stack=s.name))).well
    assert not s.world.store.unfinished_runs(s.name)


def test_the_command(project, tiny_image):
    project.compose(f"""
        services: {{web: {{image: '{tiny_image}', command: sleep 600, init: true}}}}
    """)
    project.moorage("up")
    assert project.moorage("health", "--json").json["well"]
    assert "staying up" in project.moorage("health").stdout
    drawn = project.moorage("timeline", "--json").json
    assert drawn["critical"] == ["create", "start web", "ready web"]
    assert [row["service"] for row in drawn["rows"]] == ["", "web"]
    assert 0 < drawn["rows"][1]["segments"][-1]["ended_s"] == drawn["whole_s"]
    project.moorage("timeline", "--svg", "start.svg")
    assert (project.path / "start.svg").read_text().startswith("<svg ")
    assert "█ becoming ready" in project.moorage("timeline").stdout
    found = project.moorage("status", "--json").json
    import docker

    docker.from_env().containers.get(found["services"]["web"]["containers"][0]).kill()
    said = project.moorage("health", exit_code=1).stdout
    assert "exit code 137" in said
    assert "--heal" in said
    mended = project.moorage("health", "--heal", "--json").json
    assert (mended["well"], mended["healed"]) == (True, ["web"])
    project.moorage("stop")
    assert "on purpose" in project.moorage("health").stdout
    assert project.moorage("health", "--name", "no-such-stack", exit_code=2)
