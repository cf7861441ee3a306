"""What `up` would do, said without doing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.errors import DefinitionError, ImageError

pytestmark = pytest.mark.engine

CHAIN = """
    services:
      db:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        environment: {{V: "{db}"}}
      web:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        environment: {{V: "{web}"}}
        depends_on: {{db: {{condition: service_healthy, restart: {restart}}}}}
        ports: ["{port}:80"]
        x-moorage: {{ready: {{exec: "true"}}}}
      lone: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s}}
"""


def chain(port, db="1", web="1", restart="false"):
    return CHAIN.format(port=port, db=db, web=web, restart=restart)


def ids(plan):
    return [step.id for step in plan.steps]


async def test_a_plan_leaves_no_trace(stack, free_ports, machine_state, settings):
    s = stack(chain(free_ports()))
    plan = await s.plan()
    assert set(ids(plan)) == {
        "lease", "create", "start db", "ready db", "start web", "ready web", "start lone", "ready lone",
    }  # fmt: skip
    machine_state.assert_same()
    assert s.leases == {}
    assert s.world.store.stacks() == ()
    assert s.world.store.unfinished_runs() == ()
    assert not [path for path in settings.home.rglob("*") if path.is_file() and not path.name.startswith("hub.db")]


async def test_every_step_comes_after_all_it_needs(stack, free_ports):
    plan = await stack(chain(free_ports())).plan()
    seen = set()
    for step in plan.steps:
        assert set(step.needs) <= seen
        seen.add(step.id)
    needs = {step.id: set(step.needs) for step in plan.steps}
    assert needs["start web"] == {"create", "ready db"}
    assert needs["start lone"] == {"create"}
    assert needs["create"] == {"lease"}


async def test_the_planned_port_is_the_one_that_is_leased(stack, free_ports, listen):
    port = free_ports()
    listen(port)
    s = stack(chain(port))
    (lease,) = next(step for step in (await s.plan()).steps if step.id == "lease").detail
    assert str(port + 1) in lease
    assert f"wanted {port}" in lease
    await s.up()
    assert s.ports == {"web 80/tcp": port + 1}


async def test_after_an_edit_only_what_changed(stack, free_ports):
    port = free_ports()
    s = stack(chain(port))
    await s.up()
    assert (await s.plan()).empty
    s.compose(chain(port, web="2"))
    plan = await s.plan()
    assert ids(plan) == ["create", "start web", "ready web"]
    assert plan.unchanged == ("db", "lone")
    s.compose(chain(port, db="2"))
    assert ids(await s.plan()) == ["create", "start db", "ready db"]
    s.compose(chain(port, db="2", restart="true"))
    plan = await s.plan()
    assert ids(plan) == ["create", "start db", "ready db", "stop web", "start web", "ready web"]
    ran = s.ids()
    await s.up()
    assert {name for name, one in s.ids().items() if ran[name] != one} == {f"{s.name}-db-1"}
    assert (await s.plan()).empty


async def test_a_comment_or_another_order_changes_nothing(stack, free_ports):
    port = free_ports()
    s = stack("services: {web: {image: '${TINY_IMAGE}', command: [sleep, infinity], environment: {A: a, B: b}}}")
    await s.up()
    s.compose("""
        # A comment.
        services:
          web:
            environment: [B=b, A=a]
            command: ["sleep", "infinity"]
            image: ${TINY_IMAGE}
    """)
    assert (await s.plan()).empty
    assert port


async def test_what_ended_or_was_removed_behind_our_back(stack, free_ports):
    s = stack(chain(free_ports()))
    await s.up()
    s.container("lone").kill()
    assert ids(await s.plan()) == ["start lone", "ready lone"]
    s.container("db").remove(force=True)
    assert ids(await s.plan()) == ["create", "start db", "ready db", "start lone", "ready lone"]
    await s.up()
    assert (await s.status()).state == "running"


async def test_removed_from_the_file(stack, free_ports):
    s = stack(chain(free_ports()))
    await s.up()
    kept = s.ids("db")
    s.compose(
        "services: {db: {image: '${TINY_IMAGE}', command: [sleep, infinity], stop_grace_period: 0s, environment: {V: '1'}}}"
    )
    plan = await s.plan()
    assert ids(plan) == ["create"]
    assert [line.partition(":")[0] for line in plan.steps[0].detail] == ["lone", "web"]
    await s.up()
    assert s.ids() == kept
    assert s.ports == {}


async def test_an_image_that_is_not_here_is_pulled_or_refused(stack):
    s = stack("services: {web: {image: 'moorage-tests/never-there:1'}}")
    plan = await s.plan()
    assert ids(plan) == ["pull web", "create", "start web", "ready web"]
    s.compose("services: {web: {image: 'moorage-tests/never-there:1', pull_policy: never}}")
    with pytest.raises(ImageError, match="never-there"):
        await s.plan()


async def test_a_build_is_planned_when_a_source_changed(stack, docker_client):
    s = stack("services: {web: {build: ., command: [sleep, infinity], stop_grace_period: 0s}}")
    s.write("Dockerfile", f"FROM {os.environ['TINY_IMAGE']}\nCOPY a.txt /\n")
    s.write("a.txt", "one")
    s.write("ignored.log", "one")
    s.write(".dockerignore", "*.log")
    try:
        assert ids(await s.plan()) == ["build web", "create", "start web", "ready web"]
        await s.up()
        assert (await s.plan()).empty
        s.write("ignored.log", "two")
        assert (await s.plan()).empty
        s.write("a.txt", "two")
        assert ids(await s.plan()) == ["build web", "create", "start web", "ready web"]
        await s.up()
        assert s.sh("web", "cat /a.txt") == "two"
        assert ids(await s.plan(build=True))[0] == "build web"
    finally:
        docker_client.images.remove(f"{s.name}-web", force=True)


async def test_what_is_shared_is_reported(stack):
    s = stack("""
        services:
          web: {image: x, container_name: fixed, volumes: ["/etc:/outside:ro", "shared:/s", "own:/o"], networks: [others]}
        volumes: {shared: {name: a-name-of-its-own}, own: {}}
        networks: {others: {external: true, name: some-network}}
    """)
    notices = " ".join((await s.plan()).notices)
    for words in ("container_name", "/etc is outside", "a-name-of-its-own", "some-network"):
        assert words in notices
    assert f"{s.name}_own" not in notices


async def test_names_that_meet_are_refused(stack, machine_state):
    """Compose would warn, and give the second one the first one's data."""
    sleeper = "image: '${TINY_IMAGE}', command: [sleep, infinity], stop_grace_period: 0s"
    first = stack(f"services: {{x-web: {{{sleeper}, volumes: ['x_data:/d']}}}}\nvolumes: {{x_data: {{}}}}\n")
    await first.up()
    first.sh("x-web", "echo mine > /d/file")
    for more, text, name in (
        ("_x", f"services: {{web: {{{sleeper}, volumes: ['data:/d']}}}}\nvolumes: {{data: {{}}}}\n", "_x_data"),
        ("-x", f"services: {{web: {{{sleeper}}}}}\n", "-x-web-1"),
    ):
        second = stack(text, more)
        error = await second.fails(DefinitionError)
        assert f"{first.name}{name}" in str(error)
        assert f"'{first.name}'" in str(error)
        assert f"'{second.name}'" in str(error)
        assert second.containers() == []
    volumes = f"volumes: {{data: {{name: {first.name}_x_data}}}}"
    consenting = stack(f"services: {{web: {{{sleeper}, volumes: ['data:/d']}}}}\n{volumes}\n", "_z")
    await consenting.up()
    assert consenting.sh("web", "cat /d/file") == "mine"
    await consenting.down()
    await first.down(volumes=True, release_ports=True)


def test_plan_json_without_prefect(project, free_ports, machine_state):
    port = free_ports()
    project.compose(chain(port))
    code = "import sys; from moorage.cli import call; code = call(sys.argv[1:]); assert 'prefect' not in sys.modules; sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", "--json"],
        cwd=project.path, env=os.environ | project.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["stack"], plan["operation"]) == (project.name, "up")
    assert [step["id"] for step in plan["steps"]][:2] == ["lease", "create"]
    assert {"id", "kind", "service", "needs", "why", "undo", "detail"} <= set(plan["steps"][0])
    machine_state.assert_same()
    assert not list(Path(os.environ["MOORAGE_HOME"]).rglob(f"*{project.name}*"))
