"""Many commands at once, as real processes with Prefect behind them: on one stack, and on ten.

What they come to is looked at with the Docker SDK and in the registry, not asked of the commands.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from moorage.rules import composing, labels
from moorage.settings import Settings
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.world import open_world
from tests.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

    from moorage.interfaces import World
    from tests.conftest import Finished

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(900)]

PATIENCE_S = 600
"""For all of the commands of a test together: on a busy machine twenty interpreters take their time."""
MIXED_S = float(os.environ.get("FAULTS_MIXED_S", "15"))
"""How long the mixed commands go on; `make faults` gives them a minute."""
TWO = """
    services:
      db:
        image: {image}
        command: [sleep, infinity]
        stop_grace_period: 0s
        volumes: ["data:/data"]
        healthcheck: {{test: [CMD, "true"], interval: 5s}}
      web:
        image: {image}
        command: [httpd, -f, -p, "80"]
        stop_grace_period: 0s
        ports: ["{port}:80"]
        depends_on: {{db: {{condition: service_healthy}}}}
    volumes: {{data: {{}}}}
"""


@pytest.fixture
def world() -> Iterator[World]:
    """The registry and the engine that the commands use."""
    opened = open_world(lambda _event: None, Settings())
    yield opened
    opened.store.close()


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a stack waits as long as it takes: how fast this machine is, is not what is tested."""
    monkeypatch.setenv("MOORAGE_LOCK_TIMEOUT_S", str(PATIENCE_S))


def at_once(project: Project, count: int, *args: str) -> list[Finished]:
    """The same command, so many times at once."""
    with ThreadPoolExecutor(count) as pool:
        going = [pool.submit(project.moorage, *args, exit_code=None, timeout_s=PATIENCE_S) for _ in range(count)]
        return [one.result() for one in going]


def containers(client: docker.DockerClient, stack: str) -> dict[str, str]:
    """Name → state of all containers of a stack."""
    found = client.api.containers(all=True, filters={"label": f"{labels.COMPOSE_PROJECT}={stack}"})
    return {one["Names"][0].removeprefix("/"): one["State"] for one in found}


def assert_consistent(world: World, stack: str) -> None:
    """Nothing is half done: what is there is the current generation, or none of it; leases and tags are its own."""
    store, observed = world.store, world.engine.observe(stack)
    generation = generations.current(world, stack)
    assert generation, "something was committed"
    assert store.unfinished_runs(stack) == ()
    assert world.lock(stack).held() is None
    there = {(c.service, c.number): c.labels[labels.DIGEST] for c in observed.containers}
    wanted = {(name, 1): digest for name, digest in generation.digests.items()}
    assert there in ({}, wanted), "all of the current generation, or nothing"
    assert list(observed.networks) == ([f"{stack}_default"] if there else [])
    assert [v for v in observed.volumes if v.startswith(stack)] == [f"{stack}_data"]
    leases = store.leases(stack)
    assert {lease.key for lease in leases} == composing.lease_keys(stack, generation.services)
    assert {lease.run for lease in leases} == {None}
    known = [one.number for one in store.generations(stack)]
    assert [one.number for one in store.generations(stack) if one.outcome == "current"] == [generation.number]
    assert not [one for one in store.generations(stack) if one.outcome == "pending"]
    assert generations.superfluous_tags(world, stack) == ()
    files = {name.rpartition("/")[2] for name in world.files.names(f"generations/{stack}")}
    assert {f"{number}.json" for number in known} <= files
    assert not {name for name in files if name.split(".")[0].isdigit() and int(name.split(".")[0]) not in known}


def forget(project: Project) -> None:
    """Remove all of it, ports too."""
    project.moorage("down", "--name", project.name, "--volumes", "--release-ports", timeout_s=PATIENCE_S)


def test_who_waits_for_another_up_needs_no_prefect(project, world, tiny_image, wanted_port, machine_state):
    """It says for whom it waits, finds nothing to do, and there is no flow run of it."""
    project.compose(TWO.format(image=tiny_image, port=wanted_port))
    single_flight = world.lock(f"{project.name}.up")
    single_flight.acquire("up", 1)
    try:
        waiting = project.start("up", "--json")
        line = waiting.stderr.readline()
        assert line.startswith(f"waiting: `up` of {project.name} is running (pid {os.getpid()}, since "), line
        asyncio.run(up(Context(world), UpRequest(source=source_of(project.path, (), (), ()))))
    finally:
        single_flight.release()
    out, said = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 0, said
    answer = json.loads(out)
    assert (answer["state"], answer["changed"], answer["flow_run_id"]) == ("running", [], None)
    assert world.lock(f"{project.name}.up").held() is None
    assert_consistent(world, project.name)
    forget(project)
    machine_state.assert_same()


def test_an_up_that_holds_the_turn_for_too_long_is_overtaken(project, world, tiny_image, wanted_port):
    """The turn saves time and guards nothing: what counts is the stack's own lock, and who holds that is named."""
    project.compose(TWO.format(image=tiny_image, port=wanted_port))
    single_flight, lock = world.lock(f"{project.name}.up"), world.lock(project.name)
    single_flight.acquire("up", 1)
    lock.acquire("down", 1)
    try:
        error = project.moorage("up", "--lock-timeout", "0.5", "--json", exit_code=7).json
        assert (error["operation"], error["stack"]) == ("down", project.name)
    finally:
        single_flight.release()
        lock.release()


@pytest.mark.exhaustive
def test_twenty_starts_of_one_stack_make_one(
    project, world, docker_client, tiny_image, wanted_port, calm, machine_state
):
    project.compose(TWO.format(image=tiny_image, port=wanted_port))
    began = time.monotonic()
    answers = at_once(project, 20, "up", "--json")
    print(f"20 starts of one stack: {time.monotonic() - began:.1f} s")
    assert [one.returncode for one in answers] == [0] * 20, "\n".join(map(str, answers))
    found = [one.json for one in answers]
    assert {one["state"] for one in found} == {"running"}
    assert [one["changed"] for one in found if one["changed"]] == [["db", "web"]], "one of them did it"
    assert len({str(one["services"]["web"]["containers"]) for one in found}) == 1
    assert containers(docker_client, project.name) == {f"{project.name}-{s}-1": "running" for s in ("db", "web")}
    assert [one.number for one in world.store.generations(project.name)] == [1]
    assert_consistent(world, project.name)
    forget(project)
    machine_state.assert_same()


@pytest.mark.exhaustive
def test_ten_stacks_at_once_do_not_meet(
    tmp_path, stack_prefix, world, docker_client, tiny_image, wanted_port, calm, machine_state
):
    """All want the same port."""
    projects = [make_project(tmp_path, f"{stack_prefix}-{n}") for n in range(10)]
    for project in projects:
        project.compose(TWO.format(image=tiny_image, port=wanted_port))
    with ThreadPoolExecutor(len(projects)) as pool:
        answers = list(pool.map(lambda one: one.moorage("up", "--json", timeout_s=PATIENCE_S).json, projects))
    ports = [one["services"]["web"]["ports"][0]["published"] for one in answers]
    assert len(set(ports)) == len(projects), ports
    assert wanted_port in ports
    for project, port in zip(projects, ports, strict=True):
        assert set(containers(docker_client, project.name).values()) == {"running"}
        assert_consistent(world, project.name)
        assert [lease.port for lease in world.store.leases(project.name)] == [port]
    with ThreadPoolExecutor(len(projects)) as pool:
        list(pool.map(forget, projects))
    machine_state.assert_same()
    assert not [lease for lease in world.store.leases() if lease.key.stack.startswith(stack_prefix)]
    assert not [one for one in world.store.stacks() if one.name.startswith(stack_prefix)]
    assert not world.engine.tags(f"moorage/{stack_prefix}")


def make_project(parent: Path, name: str) -> Project:
    """One more directory."""
    path = parent / name
    path.mkdir()
    return Project(path, name)


MIXED = {
    ("up", "-f", "one.yaml"): {0},
    ("up", "-f", "two.yaml"): {0},
    ("down",): {0},
    ("stop",): {0},
    ("start",): {0, 2},  # 2: there are no containers to start
    ("restart",): {0, 2},
}


@pytest.mark.exhaustive
def test_mixed_commands_end_in_a_consistent_state(
    project, world, docker_client, tiny_image, wanted_port, calm, machine_state
):
    text = TWO.format(image=tiny_image, port=wanted_port)
    project.write("one.yaml", text)
    project.write("two.yaml", text.replace("5s", "6s"))
    project.moorage("up", "-f", "one.yaml")
    deadline, done, wrong = time.monotonic() + MIXED_S, Counter(), []
    guard = threading.Lock()

    def go_on(seed: int) -> None:
        # Everybody does everything, each in an order of its own.
        order = random.Random(seed).sample(list(MIXED), len(MIXED))
        for command in itertools.cycle(order):
            if time.monotonic() >= deadline:
                return
            verb, *options = command
            answer = project.moorage(verb, "--name", project.name, *options, exit_code=None, timeout_s=PATIENCE_S)
            with guard:
                done[" ".join(command), answer.returncode] += 1
                if answer.returncode not in MIXED[command]:
                    wrong.append(str(answer))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(go_on, range(8)))
    print(f"{sum(done.values())} commands in {MIXED_S:g} s: {dict(done)}")
    assert not wrong, "\n\n".join(wrong)
    assert_consistent(world, project.name)
    assert project.moorage("up", "-f", "one.yaml", "--json").json["state"] == "running"
    assert_consistent(world, project.name)
    forget(project)
    machine_state.assert_same()
