"""All ways to interrupt a start; after each of them nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from textwrap import dedent

import pytest

from moorage.adapters.locks.stack import StackLock
from tests.faults.interrupting import DEAF, PATIENCE_S, Scene, ended, flow_processes, line_of
from tests.killing import kill_9
from tests.orchestrated.conftest import OwnHub, hub_address, state_of, wait_for  # noqa: F401 - a fixture

pytestmark = [pytest.mark.engine, pytest.mark.orchestrated, pytest.mark.timeout(600)]


# --- a command -----------------------------------------------------------------------------------------------


def test_ctrl_c_to_the_process_group_during_a_start(scene: Scene) -> None:
    going = scene.gated().start("up")
    scene.waits()
    os.killpg(going.pid, signal.SIGINT)
    code, said = ended(going)
    assert code == 130, said
    assert "undoing" in said
    assert "nothing of this run is left" in said
    assert scene.ends(scene.own_run()) == "CANCELLED"
    scene.assert_nothing_left()


def test_ctrl_c_to_the_process_group_during_a_build(scene: Scene) -> None:
    mark = f"mark-{scene.project.name}"
    scene.project.write("Dockerfile", f"FROM {scene.image}\nRUN echo {mark} && sleep 300\n")
    scene.project.compose("services: {web: {build: ., ports: ['80'], command: [sleep, infinity]}}")
    going = scene.start("up")
    wait_for(lambda: bool(building(scene, mark)), PATIENCE_S)
    os.killpg(going.pid, signal.SIGINT)
    code, said = ended(going)
    assert code == 130, said
    wait_for(lambda: not building(scene, mark), PATIENCE_S)
    scene.assert_nothing_left()


def building(scene: Scene, mark: str) -> list[str]:
    """The containers in which the engine builds an image, without BuildKit; else the processes of the build."""
    found = scene.client.api.containers(filters={"status": "running"})
    return [one["Id"] for one in found if mark in one["Command"]]


def test_ctrl_c_during_the_wait_for_the_lock(scene: Scene) -> None:
    """It ends the wait at once, and leaves alone what somebody else is at."""
    lock = StackLock(scene.hub.home / "locks", scene.project.name)
    with lock.acquire("down", 1):
        going = scene.gated().start("up")
        line_of(going, "is held by `down`")
        os.killpg(going.pid, signal.SIGINT)
        code, said = ended(going)
        assert code == 130, said
        held = lock.held()
        assert held
        assert held["pid"] == os.getpid()
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_second_ctrl_c_is_answered_and_a_third_ends_at_once(scene: Scene) -> None:
    """The undo takes the ten seconds that a deaf service has; sweep does what the third cuts off."""
    going = scene.gated(DEAF, "60s").start("up")
    scene.waits()
    os.killpg(going.pid, signal.SIGINT)
    line_of(going, "interrupted: undoing")
    os.killpg(going.pid, signal.SIGINT)
    line_of(going, "still undoing")
    os.killpg(going.pid, signal.SIGINT)
    code, said = ended(going)
    assert code == 130, said
    assert scene.containers(), "the third did not wait for the undo"
    run = scene.own_run()
    scene.sweep()
    scene.assert_nothing_left()
    assert state_of(scene.address, run)["type"] in ("CRASHED", "CANCELLED")


@pytest.mark.parametrize("cure", ["sweep", pytest.param("up", marks=pytest.mark.exhaustive)])
def test_sigkill_of_the_command_is_cleared_away(scene: Scene, cure: str) -> None:
    """By `sweep`, and likewise by the next `up`."""
    going = scene.gated().start("up")
    scene.waits()
    run = scene.own_run()
    os.kill(going.pid, signal.SIGKILL)
    ended(going)
    assert scene.containers()
    assert state_of(scene.address, run)["type"] == "RUNNING", "Prefect knows nothing of it"
    if cure == "up":
        scene.open()
        answer = scene.project.moorage("up", "--json")
        assert (answer.json["state"], answer.json["generation"]) == ("running", 1)
        assert "recovering: up of" in answer.stderr
        scene.project.moorage("down", "--volumes", "--release-ports")
    scene.sweep()
    scene.assert_nothing_left()
    assert state_of(scene.address, run)["type"] == "CRASHED"


def test_cancel_in_the_ui_of_a_shells_run(scene: Scene) -> None:
    going = scene.gated().start("up")
    scene.waits()
    run = scene.own_run()
    scene.cancel(run)
    code, said = ended(going)
    assert code == 130, said
    assert scene.ends(run) == "CANCELLED"
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_cancel_in_the_ui_that_comes_during_the_undo_of_a_shells_run(scene: Scene) -> None:
    """The undo goes on; Prefect would refuse Failed now, and call the run Cancelling for ever."""
    going = scene.gated(DEAF, "8s").start("up", "--wait-timeout", "2")
    scene.waits()
    run = scene.own_run()
    line_of(going, "undoing")
    scene.cancel(run)
    code, said = ended(going)
    assert code == 5, said
    assert scene.ends(run) == "CANCELLED"
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_flow_timeout_undoes(scene: Scene) -> None:
    """We set none; a team that gives our flow one still gets its undo."""
    scene.gated()
    code = """
        import asyncio, sys
        from moorage.hub.address import find
        from moorage.hub.project import load_flow, using
        with using(find()):
            up = load_flow("up").with_options(timeout_seconds=float(sys.argv[2]))
            print(asyncio.run(up(path=sys.argv[1], return_state=True)).type.value)
    """
    command = [sys.executable, "-c", dedent(code), str(scene.project.path), "15"]
    done = subprocess.run(
        command, env=os.environ | scene.project.env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.stdout.splitlines()[-1:] == ["FAILED"], done.stderr
    scene.assert_nothing_left()


# --- a worker ------------------------------------------------------------------------------------------------


def test_cancel_in_the_ui_of_a_workers_run(scene: Scene) -> None:
    run = scene.gated().triggered()
    scene.waits()
    scene.cancel(run)
    assert scene.ends(run) == "CANCELLED"
    scene.assert_nothing_left()


@pytest.mark.exhaustive
def test_a_cancel_during_an_undo_of_deaf_services_ends_within_prefects_half_minute(scene: Scene) -> None:
    """They ask for a minute of grace, and Prefect kills a cancelled run after 30 s."""
    run = scene.gated(DEAF, "60s").triggered(wait_timeout_s=2)
    scene.waits()
    wait_for(lambda: "undoing" in log_of(scene, run), PATIENCE_S)
    scene.cancel(run)
    scene.ends(run)
    wait_for(lambda: not flow_processes(run), PATIENCE_S)
    scene.assert_nothing_left()


def log_of(scene: Scene, run: str) -> str:
    from moorage.hub import api

    wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
    return "\n".join(line["message"] for line in api.call(scene.address, "POST", "/logs/filter", wanted))


@pytest.mark.exhaustive
def test_sigterm_of_the_worker(scene: Scene) -> None:
    """Prefect kills its runs and leaves them Running for ever; `sweep` undoes and sets them to Crashed."""
    run = scene.gated().triggered()
    scene.waits()
    os.kill(scene.hub.status()["worker"]["pid"], signal.SIGTERM)
    wait_for(lambda: scene.hub.status()["worker"]["state"] != "running" and not flow_processes(run), PATIENCE_S)
    scene.sweep()
    scene.assert_nothing_left()
    assert state_of(scene.address, run)["type"] in ("CRASHED", "CANCELLED")
    scene.hub.start()


@pytest.mark.exhaustive
def test_sigkill_of_the_worker_leaves_a_run_that_can_be_cancelled(scene: Scene) -> None:
    run = scene.gated().triggered()
    scene.waits()
    kill_9(scene.hub.status()["worker"]["pid"])
    scene.cancel(run)
    wait_for(lambda: not flow_processes(run), PATIENCE_S)
    assert scene.ends(run) == "CANCELLED"
    scene.assert_nothing_left()
    scene.hub.start()


@pytest.mark.exhaustive
def test_sigkill_of_the_worker_alone_lets_the_run_come_to_its_end(scene: Scene) -> None:
    """Nobody reads what it prints any more, which must not end it."""
    run = scene.gated().triggered()
    scene.waits()
    kill_9(scene.hub.status()["worker"]["pid"])
    scene.open()
    assert scene.ends(run) == "COMPLETED"
    assert set(scene.containers().values()) == {"running"}
    scene.project.moorage("down", "--volumes", "--release-ports")
    scene.assert_nothing_left()
    scene.hub.start()


@pytest.mark.exhaustive
def test_sigkill_of_the_worker_and_its_run(scene: Scene) -> None:
    """Nobody is left who could tell Prefect."""
    run = scene.gated().triggered()
    scene.waits()
    kill_9(scene.hub.status()["worker"]["pid"], *flow_processes(run))
    wait_for(lambda: not flow_processes(run), PATIENCE_S)
    assert state_of(scene.address, run)["type"] == "RUNNING"
    scene.sweep()
    scene.assert_nothing_left()
    assert state_of(scene.address, run)["type"] == "CRASHED"
    scene.hub.start()


# --- a server ------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_server_that_restarts_in_the_middle(scene: Scene) -> None:
    going = scene.gated().start("up", "--json")
    scene.waits()
    kill_9(scene.hub.status()["server"]["pid"])
    scene.hub.start()
    scene.open()
    code, said = ended(going)
    assert code == 0, said
    assert scene.project.moorage("status", "--json").json["state"] == "running"
    scene.project.moorage("down", "--volumes", "--release-ports")
    scene.assert_nothing_left()


@pytest.mark.exhaustive
@pytest.mark.parametrize("end", ["committed", "undone", "interrupted"])
def test_a_server_that_is_gone_in_the_middle(scene: Scene, end: str) -> None:
    """The stack is committed or undone all the same, and the command says that Prefect does not know."""
    going = scene.gated().start("up", "--wait-timeout", "600" if end != "undone" else "20")
    scene.waits()
    kill_9(scene.hub.status()["server"]["pid"])
    if end == "committed":
        scene.open()
    elif end == "interrupted":
        os.killpg(going.pid, signal.SIGINT)
    code, said = ended(going)
    assert code == {"committed": 0, "undone": 5, "interrupted": 130}[end], said
    assert "history of this run is incomplete" in said
    if end == "committed":
        assert set(scene.containers().values()) == {"running"}
        scene.project.moorage("down", "--volumes", "--release-ports")
    scene.assert_nothing_left()
    scene.hub.start()
