"""The order of a start, one-shots, replicas, restarts."""

from __future__ import annotations

from datetime import datetime

import pytest

from moorage.errors import NotReadyError
from moorage.model.event import Action

pytestmark = pytest.mark.engine

SLEEP = 'image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s'


def started_at(container):
    container.reload()
    return datetime.fromisoformat(container.attrs["State"]["StartedAt"][:26] + "+00:00").timestamp()


# --- order ---------------------------------------------------------------------------------------------------


def meeting(name, *others, more=""):
    """A service that says that it runs, and is ready when the others have said so: it waits for ever if they wait for it."""
    heard = " && ".join(f"test -f /shared/{other}" for other in (name, *others))
    return (
        f'{name}: {{image: "${{TINY_IMAGE}}", stop_grace_period: 0s, volumes: ["shared:/shared"], '
        f'command: [sh, -c, "touch /shared/{name}; exec sleep 3600"], {more}'
        f'healthcheck: {{test: "{heard}", interval: 20s}}}}'
    )


async def test_each_starts_as_soon_as_what_it_needs_is_ready(stack):
    # In waves, b would wait for slow, which waits for c, which needs b.
    s = stack(f"""
        services:
          {meeting("slow", "c", "early")}
          {meeting("a")}
          {meeting("b", more="depends_on: {a: {condition: service_healthy}}, ")}
          {meeting("c", more="depends_on: {b: {condition: service_healthy}}, ")}
          {meeting("early", more="depends_on: [slow], ")}
        volumes: {{shared: {{}}}}
    """)
    await s.up(wait_timeout_s=20)
    planned = next(event for event in s.events if event.action == Action.PLANNED)
    assert {step["service"] for step in planned.details["plan"]["steps"]} >= {"slow", "a", "b", "c", "early"}
    for first, second in (("ready a", "start b"), ("ready b", "start c"), ("start slow", "start early")):
        assert s.at(first) <= s.at(second, Action.STARTED)
    assert started_at(s.container("a")) < started_at(s.container("b")) < started_at(s.container("c"))


async def test_what_is_independent_starts_side_by_side(stack):
    names = [f"s{n}" for n in range(4)]
    lines = [meeting(name, *names) for name in names]
    s = stack("services:\n  " + "\n  ".join(lines) + "\nvolumes: {shared: {}}\n")
    await s.up(wait_timeout_s=20)
    assert max(s.at(f"start {name}", Action.STARTED) for name in names) <= min(s.at(f"ready {name}") for name in names)


async def test_a_dependency_without_a_health_check_may_be_waited_for(stack):
    s = stack(f"""
        services:
          db: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "sleep 0.6; touch /ready; exec sleep 3600"], stop_grace_period: 0s,
                x-moorage: {{ready: {{exec: "test -f /ready"}}}}}}
          web: {{{SLEEP}, depends_on: {{db: {{condition: service_healthy}}}}}}
    """)
    await s.up()
    assert started_at(s.container("web")) >= started_at(s.container("db")) + 0.6


# --- one-shots -----------------------------------------------------------------------------------------------

MIGRATE = """
    services:
      db: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s}}
      migrate:
        image: ${{TINY_IMAGE}}
        command: [sh, -c, "echo ran >> /data/log; sleep 0.4; exit {code}"]
        volumes: ["data:/data"]
        depends_on: {{db: {{condition: service_started}}}}
      web:
        image: ${{TINY_IMAGE}}
        command: [sleep, infinity]
        stop_grace_period: 0s
        volumes: ["data:/data"]
        environment: {{V: "{web}"}}
        depends_on: {{migrate: {{condition: service_completed_successfully}}}}
    volumes: {{data: {{}}}}
"""


async def test_a_one_shot_has_ended_before_its_dependent_starts(stack):
    s = stack(MIGRATE.format(code=0, web=1))
    found = await s.up()
    migrate = found.services["migrate"]
    assert (migrate.state, migrate.exit_code, migrate.ready) == ("exited", 0, True)
    assert found.state == "running"
    assert (await s.status()).state == "running"
    assert started_at(s.container("web")) >= started_at(s.container("migrate")) + 0.4


async def test_a_one_shot_that_has_ended_well_is_not_run_again(stack):
    s = stack(MIGRATE.format(code=0, web=1))
    await s.up()
    assert (await s.plan()).empty
    s.compose(MIGRATE.format(code=0, web=2))
    await s.up()
    assert s.sh("web", "cat /data/log") == "ran"
    await s.stop()
    await s.start()
    assert s.sh("web", "cat /data/log") == "ran"
    await s.down()
    await s.up()
    assert s.sh("web", "cat /data/log") == "ran\nran"


async def test_a_one_shot_that_fails_ends_the_run(stack, machine_state):
    s = stack(MIGRATE.format(code=9, web=1))
    error = await s.fails(NotReadyError)
    assert {key: error.fields[key] for key in ("service", "reason", "exit_code_of_service")} == {
        "service": "migrate",
        "reason": "exited",
        "exit_code_of_service": 9,
    }
    assert "start web" not in s.steps(Action.STARTED)


# --- dependencies that need not be ----------------------------------------------------------------------------


async def test_an_optional_dependency_of_another_profile(stack):
    s = stack(f"""
        services:
          web: {{{SLEEP}, depends_on: {{debug: {{condition: service_healthy, required: false}}}}}}
          debug: {{{SLEEP}, healthcheck: {{test: [CMD, "true"]}}, profiles: [debug]}}
    """)
    found = await s.up()
    assert set(found.services) == {"web"}
    found = await s.up(profiles=["debug"])
    assert {name: one.ready for name, one in found.services.items()} == {"web": True, "debug": True}


async def test_an_optional_dependency_that_fails_stops_nobody(stack):
    s = stack(f"""
        services:
          web: {{{SLEEP}, depends_on: {{cache: {{condition: service_healthy, required: false}}}}}}
          cache: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "echo broken; exit 3"], healthcheck: {{test: [CMD, "true"], interval: 20s}}}}
    """)
    found = await s.up()
    assert (found.services["web"].ready, found.services["web"].state) == (True, "running")
    assert (found.services["cache"].ready, found.services["cache"].exit_code) == (False, 3)
    assert found.state == "degraded"
    (said,) = [e for e in s.events if e.action == Action.NOTICE and e.service == "cache"]
    assert "exit code 3" in said.message
    assert (await s.status()).state == "degraded"


async def test_a_service_that_one_needs_and_another_would_like_is_needed(stack, machine_state):
    s = stack(f"""
        services:
          web: {{{SLEEP}, depends_on: {{cache: {{condition: service_healthy, required: false}}}}}}
          worker: {{{SLEEP}, depends_on: {{cache: {{condition: service_healthy}}}}}}
          cache: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "exit 3"]}}
    """)
    error = await s.fails(NotReadyError)
    assert error.fields["service"] == "cache"


# --- changes -------------------------------------------------------------------------------------------------


def restarting(value, restart="true"):
    return f"""
        services:
          db: {{{SLEEP}, environment: {{V: "{value}"}}}}
          web: {{{SLEEP}, depends_on: {{db: {{condition: service_started, restart: {restart}}}}}}}
          top: {{{SLEEP}, depends_on: {{web: {{condition: service_started, restart: {restart}}}}}}}
          other: {{{SLEEP}, depends_on: [db]}}
    """


async def test_dependents_that_ask_for_it_are_restarted(stack):
    s = stack(restarting(1))
    await s.up()
    ran, began = s.ids(), {name: started_at(s.container(name)) for name in ("web", "top", "other")}
    s.compose(restarting(2))
    await s.up()
    changed = {name for name, one in s.ids().items() if ran[name] != one}
    again = {name for name, at in began.items() if started_at(s.container(name)) > at}
    assert changed == {f"{s.name}-db-1"}
    assert again == {"web", "top"}


def scaled(replicas, value="1"):
    return f"""
        services:
          web: {{{SLEEP}, environment: {{V: "{value}"}}, deploy: {{replicas: {replicas}}}}}
          user: {{{SLEEP}, depends_on: {{web: {{condition: service_healthy}}}}}}
    """


async def test_replicas_come_and_go_and_the_others_stay(stack):
    s = stack(scaled(1))
    await s.up()
    first = s.ids("web")
    s.compose(scaled(3))
    found = await s.up()
    assert len(found.services["web"].containers) == 3
    assert first.items() <= s.ids("web").items()
    three = s.ids()
    assert (await s.plan()).empty
    s.compose(scaled(2))
    await s.up()
    assert s.ids("web") == {name: one for name, one in three.items() if name.endswith(("web-1", "web-2"))}
    s.compose(scaled(2, value="2"))
    await s.up()
    assert not set(s.ids("web").values()) & set(three.values())
    assert len(s.ids("web")) == 2
    s.compose(scaled(0))
    found = await s.up()
    assert s.ids("web") == {}
    assert found.state == "running"
    assert (await s.status()).state == "running"
    assert (await s.plan()).empty


async def test_no_replicas_from_the_start(stack):
    s = stack(scaled(0))
    found = await s.up()
    assert [c.name for c in s.containers()] == [f"{s.name}-user-1"]
    assert found.state == "running"


async def test_a_replica_that_fails_fails_the_service(stack, machine_state):
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            command: [sh, -c, "ls /sys/class/net >/dev/null; case $$(hostname -i) in *[02468]) exit 5;; esac; exec sleep 3600"]
            stop_grace_period: 0s
            deploy: {replicas: 2}
    """)
    error = await s.fails(NotReadyError)
    assert (error.fields["service"], error.fields["exit_code_of_service"]) == ("web", 5)


async def test_stop_and_start_keep_the_containers(stack):
    s = stack(restarting(1))
    await s.up()
    ran = s.ids()
    await s.stop()
    assert (await s.status()).state == "stopped"
    assert {c.status for c in s.containers()} == {"exited"}
    found = await s.start()
    assert found.state == "running"
    assert s.ids() == ran
    await s.stop("web")
    assert {c.name: c.status for c in s.containers()}[f"{s.name}-web-1"] == "exited"
    assert (await s.status()).state == "degraded"
    await s.start("top")  # with what it depends on
    assert (await s.status()).state == "running"


async def test_stops_go_from_the_dependents_down(stack):
    s = stack(restarting(1))
    await s.up()
    s.events.clear()
    await s.stop()
    order = [event.step for event in s.events if event.action == Action.DONE]
    assert order.index("stop top") < order.index("stop web") < order.index("stop db")
    assert order.index("stop other") < order.index("stop db")


async def test_the_grace_of_the_definition(stack):
    trap = "trap 'sleep 0.4; exit 0' TERM; while :; do sleep 0.1; done"
    s = stack(f"""
        services:
          kind: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "{trap}"], stop_grace_period: 10s}}
          other: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "trap 'exit 3' INT; while :; do sleep 0.1; done"], stop_grace_period: 10s, stop_signal: SIGINT}}
          deaf: {{{SLEEP}}}
    """)
    await s.up()
    await s.stop()
    codes = {name: s.container(name).attrs["State"]["ExitCode"] for name in ("kind", "other", "deaf")}
    assert codes == {"kind": 0, "other": 3, "deaf": 137}
    await s.start()
    await s.stop(grace_s=0)
    assert s.container("kind").attrs["State"]["ExitCode"] == 137
