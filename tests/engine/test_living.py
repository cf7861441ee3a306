"""Living with a stack: what is written stays, a crash is mended, stops take one grace period."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from moorage.errors import DefinitionError, NotReadyError, PortError
from moorage.model.event import Action
from moorage.model.state import StackState

pytestmark = pytest.mark.engine

SHOP = """
    services:
      db:
        image: ${{POSTGRES_IMAGE}}
        environment: {{POSTGRES_USER: shop, POSTGRES_PASSWORD: hunter22, POSTGRES_DB: shop}}
        volumes: ["pg:/var/lib/postgresql/data"]
        ports: ["{port}:5432"]
      cache:
        image: ${{REDIS_IMAGE}}
        command: redis-server --appendonly yes
        volumes: ["cache:/data"]
      backend:
        image: ${{TINY_IMAGE}}
        command: [httpd, -f, -p, "80", -h, /etc]
        environment: {{MODE: as-it-was}}
        ports: ["{next_port}:80"]
        stop_grace_period: 0s
        depends_on: {{db: {{condition: service_healthy, restart: true}}, cache: {{condition: service_started}}}}
      frontend:
        image: ${{TINY_IMAGE}}
        # Gives up when its backend is gone, as many programs do.
        command: [sh, -c, "while timeout 5 wget -qO /dev/null http://backend/group; do sleep 0.1; done; exit 3"]
        stop_grace_period: 0s
        depends_on: {{backend: {{condition: service_healthy}}}}
    volumes: {{pg: {{}}, cache: {{}}}}
"""
PSQL = "PGPASSWORD=hunter22 psql -h 127.0.0.1 -U shop -d shop -Atc"


def write(s, word):
    s.sh("db", f"{PSQL} \"create table if not exists words (w text); insert into words values ('{word}')\"")
    s.sh("cache", f"redis-cli rpush words {word}")


def read(s):
    """The words of PostgreSQL and of Redis."""
    in_db = s.sh("db", f'{PSQL} "select w from words order by w"').split()
    return in_db, sorted(s.sh("cache", "redis-cli lrange words 0 -1").split())


def facts(s):
    """What a restart has to leave as it is: ports, environment, volumes of each container."""
    found = {}
    for container in s.containers():
        container.reload()
        raw = container.attrs
        mounts = sorted((mount["Destination"], mount["Name"]) for mount in raw["Mounts"])
        found[container.name] = (raw["NetworkSettings"]["Ports"], sorted(raw["Config"]["Env"] or ()), mounts)
    return found


def started_at(s):
    return {c.service: c.started_at for c in s.world.engine.observe(s.name).containers}


def kill_9(container):
    """SIGKILL to the container's own process, from the host, as the kernel or an operator would do it."""
    container.reload()
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    container.wait(timeout=240)


async def test_what_was_written_stays_and_a_crash_is_mended(stack, free_ports):
    port = free_ports(2)
    s = stack(SHOP.format(port=port, next_port=port + 1))
    await s.up()
    write(s, "first")
    before, ids, begun = facts(s), s.ids(), started_at(s)

    await s.stop()
    await s.start()
    assert read(s) == (["first"], ["first"])

    found = await s.restart()
    assert found.state == StackState.RUNNING
    assert read(s) == (["first"], ["first"])
    assert (facts(s), s.ids()) == (before, ids)
    assert all(started_at(s)[name] > begun[name] for name in begun)
    assert s.at("stop frontend") <= s.at("stop backend", Action.STARTED)
    assert s.at("stop backend") <= s.at("stop db", Action.STARTED)
    assert s.at("ready db") <= s.at("start backend", Action.STARTED)
    assert s.at("ready backend") <= s.at("start frontend", Action.STARTED)

    write(s, "second")
    found = await s.restart(recreate=True)
    assert found.state == StackState.RUNNING
    assert read(s) == (["first", "second"], ["first", "second"])
    assert facts(s) == before
    assert set(s.ids().values()).isdisjoint(ids.values())

    # The backend is killed, its dependent gives up; `restart` of the one brings the other back.
    begun = started_at(s)
    kill_9(s.container("backend"))
    s.container("frontend").wait(timeout=240)
    assert (await s.status()).state == StackState.DEGRADED
    found = await s.restart("backend")
    assert found.state == StackState.RUNNING
    assert {name for name, at in started_at(s).items() if at != begun[name]} == {"backend", "frontend"}
    assert facts(s) == before

    await s.down()
    await s.up()
    assert read(s) == (["first", "second"], ["first", "second"])
    assert facts(s) == before


async def test_restart_of_one_takes_along_who_asks_for_it(stack):
    s = stack("""
        x-one: &one {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s}
        services:
          db: *one
          asks: {<<: *one, depends_on: {db: {condition: service_started, restart: true}}}
          asks_not: {<<: *one, depends_on: [db]}
          once: {<<: *one, command: [sh, -c, "echo ran"], x-moorage: {ready: {exit: 0}}}
    """)
    await s.up()
    begun = started_at(s)
    await s.restart("db")
    assert {name for name, at in started_at(s).items() if at != begun[name]} == {"db", "asks"}
    await s.restart()
    assert s.log("once") == "ran\n"
    await s.restart("once")
    assert s.log("once") == "ran\nran\n"
    await s.stop("asks", "asks_not")
    await s.restart("db")
    assert {s.container(name).status for name in ("asks", "asks_not")} == {"exited"}, "on purpose"
    await s.restart()
    assert {s.container(name).status for name in ("asks", "asks_not")} == {"running"}, "all: the stopped ones too"


async def test_restart_creates_what_someone_removed(stack, free_ports):
    s = stack(f"""
        services:
          db: {{image: "${{TINY_IMAGE}}", command: [sleep, "3600"], stop_grace_period: 0s}}
          web: {{image: "${{TINY_IMAGE}}", command: [httpd, -f], ports: ["{free_ports()}:80"], stop_grace_period: 0s}}
    """)
    await s.up()
    ports = s.ports
    s.container("web").remove(force=True)
    assert (await s.restart("web")).state == StackState.RUNNING
    assert (s.ports, s.container("web").status) == (ports, "running")


async def test_restart_that_fails_leaves_all_for_a_look(stack):
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            command: [sh, -c, "test ! -f /was || exit 4; touch /was; exec sleep 3600"]
            stop_grace_period: 0s
            healthcheck: {test: [CMD, test, -f, /was]}
          worker: {image: "${TINY_IMAGE}", command: [sleep, "3600"], depends_on: {web: {condition: service_healthy}},
                   stop_grace_period: 0s}
    """)
    await s.up()
    with pytest.raises(NotReadyError) as caught:
        await s.restart()
    assert caught.value.fields["exit_code_of_service"] == 4
    assert Path(caught.value.fields["report"]).is_file()
    assert {c.labels["com.docker.compose.service"]: c.status for c in s.containers()} == {
        "web": "exited",
        "worker": "exited",
    }
    assert s.world.store.unfinished_runs(s.name) == ()


async def test_restart_names_the_services_there_are(stack):
    s = stack('services: {web: {image: "${TINY_IMAGE}", command: [sleep, "3600"], stop_grace_period: 0s}}')
    with pytest.raises(DefinitionError, match="there are no containers to restart"):
        await s.restart()
    await s.up()
    with pytest.raises(DefinitionError) as caught:
        await s.restart("wbe")
    assert "web" in caught.value.hint


TAKEN = """
    services:
      db: {{image: "${{TINY_IMAGE}}", command: [sleep, "600"], stop_grace_period: 0s}}
      web: {{image: "${{TINY_IMAGE}}", command: [httpd, -f], ports: ["{port}:80"], stop_grace_period: 0s, depends_on: [db]}}
"""


async def test_a_port_that_was_taken_meanwhile(stack, free_ports, listen):
    s = stack(TAKEN.format(port=free_ports()))
    await s.up()
    (port,) = s.ports.values()
    await s.stop()
    thief = listen(port)
    with pytest.raises(PortError) as caught:
        await s.start()
    assert str(caught.value).startswith(f"services.web: port {port} is taken by ")
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert caught.value.fields["undone"] is True
    assert {c.status for c in s.containers()} == {"exited"}
    assert s.world.store.unfinished_runs(s.name) == ()
    with pytest.raises(PortError, match=f"port {port} is taken"):
        await s.restart()
    assert {c.labels["com.docker.compose.service"]: c.status for c in s.containers()} == {
        "db": "running",
        "web": "exited",
    }
    assert s.world.store.unfinished_runs(s.name) == ()

    assert (await s.up()).state == StackState.RUNNING
    assert s.ports["web 80/tcp"] != port
    thief.close()
    await s.stop()
    assert (await s.start()).state == StackState.RUNNING


FOUR_DEAF = """
    services:
      a: &deaf {image: "${TINY_IMAGE}", command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"]}
      b: *deaf
      c: *deaf
      d: *deaf
"""
GRACE_S = 3.0


async def test_four_that_ignore_sigterm_take_one_grace_period(stack):
    s = stack(FOUR_DEAF)
    await s.up()
    began = time.monotonic()
    await s.stop(grace_s=GRACE_S)
    took_s = time.monotonic() - began
    assert {c.wait()["StatusCode"] for c in s.containers()} == {137}
    assert took_s >= GRACE_S
    # Not one after the other: all had begun to stop before the first had stopped.
    stops = [f"stop {name}" for name in "abcd"]
    assert max(s.at(step, Action.STARTED) for step in stops) < min(s.at(step) for step in stops)


def begun(s, *args):
    command = [Path(sys.executable).with_name("moorage"), *args]
    return subprocess.Popen(command, cwd=s.path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


async def test_an_interrupted_stop_says_what_it_does(stack):
    s = stack(f"{FOUR_DEAF}      z: {{depends_on: [a], <<: *deaf}}\n")
    await s.up()
    with begun(s, "stop", "--timeout", "600") as going, ExitStack() as at_the_end:
        at_the_end.callback(going.kill)  # else a failed assertion would wait for all of that time
        said = ""
        while "stop z" not in said:  # one of the first four, which end when they are killed below
            line = going.stderr.readline()
            assert line, said
            said += line
        for word in ("interrupted: finishing", "still finishing"):
            going.send_signal(signal.SIGINT)
            while word not in said:
                said += (line := going.stderr.readline())
                assert line, said
        for name in "bcdz":
            s.container(name).kill()
        said += going.communicate(timeout=240)[1]
    assert going.returncode == 130, said
    assert "undoing" not in said
    assert "`moorage stop` finishes it" in said
    assert s.container("z").status == "exited"
    assert s.container("a").status == "running", "not begun any more"
    assert s.world.store.unfinished_runs(s.name) == ()


async def test_force_does_not_wait_for_a_hook_that_hangs(stack):
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            command: [sleep, infinity]
            pre_stop: [{command: [sleep, "300"]}]
    """)
    await s.up()
    await s.stop(grace_s=0.5, force=True)
    assert s.container("web").wait()["StatusCode"] == 137
    assert "a pre_stop hook is taking longer than 0.5 s" in [e.message for e in s.events if e.action == Action.NOTICE]
