"""A start that fails: the right reason, at once, and the machine as it was."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.errors import (
    EngineUnavailableError,
    ImageError,
    InterruptedRunError,
    MoorageError,
    NotReadyError,
    RunError,
    TransientImageError,
)
from moorage.model.event import Action
from moorage.work.operations.up import up
from moorage.work.runs.context import Context
from moorage.world import open_world

pytestmark = pytest.mark.engine

SLEEP = 'image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s'


def failing(command, more="", ports="['80']"):
    """A stack of two: `db` is fine, `web` fails in its own way."""
    return f"""
        services:
          db: {{{SLEEP}, volumes: ["data:/data"], ports: ["81"], x-moorage: {{ready: {{exec: "true"}}}}}}
          web:
            image: ${{TINY_IMAGE}}
            command: {json.dumps(command)}
            stop_grace_period: 0s
            depends_on: [db]
            ports: {ports}
            {more}
        volumes: {{data: {{}}}}
    """


@contextmanager
def nothing_left(s, machine_state):
    """The machine, the leases and the record are after a failure as they were before it."""
    before = (machine_state.now(), s.leases, s.ids(), s.world.store.stack(s.name), tags(s))
    yield
    assert (machine_state.now(), s.leases, s.ids(), s.world.store.stack(s.name), tags(s)) == before
    assert s.world.store.unfinished_runs() == ()


def tags(s):
    # Not by images.list(): that looks at each, and others of a parallel run remove theirs meanwhile.
    return {tag for image in s.client.api.images() for tag in image["RepoTags"] or () if s.name in tag}


def facts(error):
    return {key: error.fields.get(key) for key in ("service", "reason", "exit_code_of_service", "undone")}


# --- the reasons ---------------------------------------------------------------------------------------------


async def test_an_exit_with_a_code(stack, machine_state):
    s = stack(
        failing(
            [
                "sh",
                "-c",
                "for i in $(seq 60); do echo line $$i; done; sleep 0.2; echo to stderr >&2; sleep 0.2; exit 42",
            ]
        )
    )
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert error.exit_code == 5
    assert facts(error) == {"service": "web", "reason": "exited", "exit_code_of_service": 42, "undone": True}
    lines = error.fields["log"].strip().splitlines()
    assert len(lines) == 50
    assert {"line 60", "to stderr"} <= set(lines)
    assert "line 2" not in lines
    assert "exit code 42" in str(error)


async def test_a_failure_ends_the_run_at_once(stack, machine_state):
    s = stack(failing(["sh", "-c", "sleep 0.3; exit 1"]).replace("services:", f"""services:
          slow: {{{SLEEP}, healthcheck: {{test: ["CMD", "false"], interval: 1h}}}}"""))  # fmt: skip
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert error.fields["service"] == "web"
    assert "ready slow" not in s.steps()


async def test_killed_for_lack_of_memory(stack, machine_state):
    allocate = "head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null"
    s = stack(
        failing(
            ["sh", "-c", f"echo allocating; exec sh -c '{allocate}; code=$?; sleep 3; exit $code'"],
            # Never ready: how soon it is killed depends on the machine.
            "mem_limit: 8m\n            memswap_limit: 8m\n            x-moorage: {ready: {exec: ['false']}}",
        )
    )
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert error.exit_code == 5
    assert (error.fields["service"], error.fields["reason"]) == ("web", "oom"), (str(error), error.fields, s.steps())
    assert "memory" in str(error)
    assert "allocating" in error.fields["log"]


def killed_while_others_start(check):
    """`web` is ready, then `db` starts, then `web` is killed, and only then is there `/tmp/over` in `db`.

    Whatever of `web` is killed, and however late: its end of the pipe is closed when all of it is gone. The engine does
    not always hear of what is killed in a container that ends at once.
    """
    allocate = "head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null"
    killed = f"mkfifo /both/pipe; exec 9>/both/pipe; {allocate}; sleep 3; exit 137"
    last = "cat /both/pipe; touch /tmp/over; exec sleep infinity"
    return f"""
        services:
          db: {{image: "${{TINY_IMAGE}}", command: {json.dumps(["sh", "-c", last])}, stop_grace_period: 0s,
               volumes: ["both:/both"], depends_on: {{web: {{condition: service_healthy}}}}, {check}}}
          web: {{image: "${{TINY_IMAGE}}", command: {json.dumps(["sh", "-c", killed])}, volumes: ["both:/both"],
                mem_limit: 8m, memswap_limit: 8m, x-moorage: {{ready: {{exec: [test, -p, /both/pipe]}}}}}}
        volumes: {{both: {{}}}}
    """


READY_AFTERWARDS = "x-moorage: {ready: {exec: [test, -e, /tmp/over], timeout: 10m}}"
NEVER_READY = (
    'healthcheck: {test: "until test -e /tmp/over; do sleep 0.1; done; exit 1", interval: 1s, timeout: 10m, retries: 1}'
)


@pytest.mark.parametrize("check", [READY_AFTERWARDS, NEVER_READY])
async def test_killed_for_lack_of_memory_while_others_start(stack, machine_state, check):
    """Its end is the reason, also where the other one waits for it in vain."""
    s = stack(killed_while_others_start(check))
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert "ready web" in s.steps()
    assert (error.fields["service"], error.fields["reason"]) == ("web", "oom"), (str(error), error.fields, s.steps())


async def test_the_engine_calls_it_unhealthy(stack, machine_state):
    check = 'healthcheck: {test: ["CMD-SHELL", "echo no connection; exit 3"], interval: 200ms, retries: 2, timeout: 2s}'
    s = stack(failing(["sleep", "infinity"], check))
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert error.exit_code == 5
    assert facts(error)["reason"] in ("unhealthy", "timeout")  # its deadline is the engine's own
    assert "no connection" in error.fields["probe"]
    assert "exit code 3" in error.fields["probe"]


async def test_the_engines_verdict_counts_before_the_deadline(stack, machine_state):
    check = 'healthcheck: {test: ["CMD-SHELL", "exit 3"], interval: 100ms, retries: 1, start_period: 0s, start_interval: 100ms}'
    s = stack(failing(["sleep", "infinity"], check))
    error = await s.fails(NotReadyError, wait_timeout_s=30)
    assert error.fields["reason"] == "unhealthy"
    assert error.fields["waited_s"] < 10


async def test_not_ready_in_time(stack, machine_state):
    check = 'healthcheck: {test: ["CMD-SHELL", "echo still waiting; exit 1"], interval: 60s}'
    s = stack(failing(["sh", "-c", "echo hello; exec sleep 3600"], check))
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError, wait_timeout_s=4)  # on a busy machine one look takes a second
    assert facts(error) == {"service": "web", "reason": "timeout", "exit_code_of_service": None, "undone": True}
    assert "still waiting" in error.fields["probe"]
    assert error.fields["log"].strip() == "hello"
    assert error.fields["waited_s"] >= 4


async def test_a_restart_policy_does_not_hide_a_crash_loop(stack, machine_state):
    s = stack(failing(["sh", "-c", "echo again; exit 8"], "restart: always"))
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert (error.fields["reason"], error.fields["exit_code_of_service"]) == ("exited", 8)
    assert "again" in error.fields["log"]


async def test_a_restart_policy_may_help(stack):
    command = "test -f /data/second && exec sleep 3600; touch /data/second; exit 1"
    s = stack(failing(["sh", "-c", command], 'restart: on-failure\n            volumes: ["data:/data"]', "[]"))
    found = await s.up()
    assert found.services["web"].restarts == 1


async def test_an_image_that_nobody_has(stack, machine_state):
    s = stack(failing(["true"]).replace("image: ${TINY_IMAGE}", "image: localhost:9/never/there:1"))
    with nothing_left(s, machine_state):
        error = await s.fails(TransientImageError)
    assert error.exit_code == 5
    assert (error.fields["service"], error.fields["undone"]) == ("web", True)
    assert "localhost:9/never/there" in str(error) + error.fields.get("log", "")


async def test_a_command_that_is_not_there(stack, machine_state):
    s = stack(failing(["no-such-program"]))
    with nothing_left(s, machine_state):
        error = await s.fails(RunError)
    assert error.exit_code == 5
    assert (error.fields["service"], error.fields["reason"]) == ("web", "not started")
    assert "no-such-program" in str(error)


async def test_a_build_that_fails(stack, machine_state):
    s = stack(failing(["true"]).replace("image: ${TINY_IMAGE}\n            command", "build: .\n            command"))
    s.write("Dockerfile", f"FROM {os.environ['TINY_IMAGE']}\nRUN echo compiling && echo bad syntax >&2 && exit 7\n")
    with nothing_left(s, machine_state):
        error = await s.fails(ImageError)
    assert error.exit_code == 5
    assert facts(error) == {"service": "web", "reason": "build failed", "exit_code_of_service": None, "undone": True}
    assert "bad syntax" in error.fields["log"]


async def test_a_dockerfile_that_makes_no_sense(stack, machine_state):
    s = stack("services: {web: {build: .}}")
    s.write("Dockerfile", "FORM nothing\n")
    with nothing_left(s, machine_state):
        error = await s.fails(ImageError)
    assert "FORM" in error.fields["log"]


async def test_what_ended_while_others_started(stack, machine_state):
    s = stack(f"""
        services:
          early: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "sleep 0.8; exit 4"], stop_grace_period: 0s}}
          late: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "sleep 1.5; touch /ready; exec sleep 3600"], stop_grace_period: 0s,
                  healthcheck: {{test: [CMD, test, -f, /ready], interval: 60s}}}}
          other: {{{SLEEP}}}
    """)
    with nothing_left(s, machine_state):
        error = await s.fails(NotReadyError)
    assert (error.fields["service"], error.fields["reason"], error.fields["exit_code_of_service"]) == (
        "early",
        "exited",
        4,
    )


# --- what is left --------------------------------------------------------------------------------------------


async def test_a_volume_that_was_there_keeps_its_data(stack, machine_state):
    good = failing(["sleep", "infinity"], 'x-moorage: {ready: {exec: "true"}}')
    s = stack(good)
    await s.up()
    s.sh("db", "echo precious > /data/file")
    await s.down()
    s.compose(
        failing(["sh", "-c", "rm -f /tmp/none; exit 1"])
        .replace("volumes: {data: {}}", "volumes: {data: {}, fresh: {}}")
        .replace('"data:/data"', '"data:/data", "fresh:/fresh"')
    )
    ports = s.ports
    with nothing_left(s, machine_state):
        await s.fails(NotReadyError)
    assert s.ports == ports
    assert machine_state.now()["volumes"] == {f"{s.name}_data"}
    s.compose(good)
    await s.up()
    assert s.sh("db", "cat /data/file") == "precious"
    await s.down(volumes=True, release_ports=True)


async def test_a_change_that_fails_leaves_what_ran(stack, machine_state):
    good = failing(["sleep", "infinity"], 'x-moorage: {ready: {exec: "true"}}')
    s = stack(good)
    await s.up()
    s.sh("db", "echo precious > /data/file")
    db, ports, record = s.ids("db"), s.ports, s.world.store.stack(s.name)
    s.compose(failing(["sh", "-c", "exit 1"]).replace("services:", f"services:\n          new: {{{SLEEP}}}"))
    error = await s.fails(NotReadyError)
    assert error.fields["undone"] is True
    assert (await s.status()).state == "running"
    assert s.ids("db") == db
    assert s.ports == ports
    assert s.world.store.stack(s.name) == record
    assert s.containers("new") == []
    assert s.sh("web", "cat /proc/1/cmdline | tr '\\0' ' '").strip() == "sleep infinity"
    s.compose(good)
    assert (await s.plan()).empty
    await s.down(volumes=True, release_ports=True)


async def test_a_change_of_the_dependency_that_fails_leaves_all_running(stack):
    text = """
        services:
          db: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "{0}"], stop_grace_period: 0s}}
          web: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, depends_on: {{db: {{condition: service_started, restart: true}}}}}}
    """
    s = stack(text.format("exec sleep 3600"))
    await s.up()
    web = s.ids("web")
    s.compose(text.format("exit 1"))
    await s.fails(NotReadyError)
    found = await s.status()
    assert {name: service.state for name, service in found.services.items()} == {"db": "running", "web": "running"}
    assert s.ids("web") == web


async def test_kept_for_a_look(stack, machine_state):
    s = stack(failing(["sh", "-c", "echo look; exit 1"]))
    error = await s.fails(NotReadyError, keep_failed=True)
    assert error.fields["undone"] is False
    assert f"moorage down --name {s.name}" in error.hint
    assert {c.name: c.status for c in s.containers()} == {f"{s.name}-db-1": "running", f"{s.name}-web-1": "exited"}
    assert s.log("web") == "look\n"
    assert set(s.ports) == {"db 81/tcp", "web 80/tcp"}
    assert s.world.store.unfinished_runs() == ()
    await s.down(volumes=True, release_ports=True)


async def test_the_failure_report(stack, settings):
    s = stack(failing(["sh", "-c", "echo last words; exit 1"]))
    error = await s.fails(NotReadyError)
    path = Path(error.fields["report"])
    assert path.is_relative_to(settings.home / "failures")
    assert path.stat().st_mode & 0o777 == 0o600
    report = json.loads(path.read_text())
    assert (report["stack"], report["operation"], report["error"]["service"]) == (s.name, "up", "web")
    services = {one["service"]: one for one in report["services"]}
    assert services["web"]["exit_code"] == 1
    assert services["web"]["log"] == ["last words"]
    assert services["db"]["state"] == "running"


async def test_an_interrupt_is_undone(stack, machine_state):
    s = stack(failing(["sleep", "infinity"], 'healthcheck: {test: ["CMD", "false"], interval: 60s}'))
    with nothing_left(s, machine_state):
        started, loop = asyncio.Event(), asyncio.get_running_loop()

        def told(event):
            if event.step == "start web" and event.action == Action.DONE:
                loop.call_soon_threadsafe(started.set)

        task = asyncio.ensure_future(up(Context(replace(s.world, emit=told)), s.request()))
        await started.wait()
        task.cancel()
        with pytest.raises(InterruptedRunError) as caught:
            await task
    assert caught.value.exit_code == 130


async def test_two_at_once_make_one_stack(stack):
    s = stack(failing(["sleep", "infinity"], 'x-moorage: {ready: {exec: "true"}}'))
    results = await asyncio.gather(*(up(Context(s.world), s.request()) for _ in range(2)))
    assert all(one.status.services.keys() == {"db", "web"} for one in results)
    assert sorted(len(one.changed) for one in results) == [0, 2]
    assert len(s.containers()) == 2


async def test_after_a_failure_the_next_start_is_as_if_nothing_had_been(stack):
    s = stack(failing(["sh", "-c", "exit 1"]))
    await s.fails(NotReadyError)
    s.compose(failing(["sleep", "infinity"], 'x-moorage: {ready: {exec: "true"}}'))
    found = await s.up()
    assert (found.state, found.generation) == ("running", 1)


async def test_an_engine_that_does_not_answer(stack, settings, tmp_path, monkeypatch, events):
    s = stack(f"services: {{web: {{{SLEEP}}}}}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(EngineUnavailableError) as caught:
        await up(Context(open_world(events.append, settings)), s.request())
    assert caught.value.exit_code == 4
    assert "nobody.sock" in str(caught.value)


async def test_an_engine_that_listens_and_says_nothing(stack, settings, listen, free_ports, monkeypatch, events):
    port = free_ports()
    listen(port)
    s = stack(f"services: {{web: {{{SLEEP}}}}}")
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    hasty = settings.model_copy(update={"connect_timeout_s": 1, "engine_timeout_s": 3600})
    with pytest.raises(MoorageError) as caught:
        await up(Context(open_world(events.append, hasty)), s.request())
    assert caught.value.exit_code == 4
