"""When a service is ready: every kind of check, against a container that becomes ready late."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace

import pytest

from moorage.errors import NotReadyError

pytestmark = pytest.mark.engine

LATE_S = 0.7
"""How long after its start a service of these tests is not ready yet."""


def service(check, command, more=""):
    """One service with a check; `command` is what its shell does."""
    return f"""
        services:
          web:
            image: ${{TINY_IMAGE}}
            command: [sh, -c, '{command}']
            stop_grace_period: 0s
            {check}
            {more}
    """


def health(test, **more):
    facts = {"interval": "1h", **more}  # who waits for it runs into the test's own time-out
    return "healthcheck: {test: " + test + ", " + ", ".join(f"{key}: {value}" for key, value in facts.items()) + "}"


def ready(check):
    return f"x-moorage: {{ready: {{{check}}}}}"


async def becomes_ready(s, at_least=LATE_S):
    """Bring it up; how long it took must show that the check was waited for."""
    found = await s.up()
    assert found.services["web"].ready
    took = found.services["web"].time_to_ready_s
    assert took + 0.2 >= at_least
    return found


LATE = f"sleep {LATE_S}; touch /tmp/ready; exec sleep 600"


SERVE_LATE = f"sleep {LATE_S}; exec httpd -f -p 80 -h /etc"
WRITE_LATE = f"mkdir /srv; httpd -p 80 -h /srv; sleep {LATE_S}; echo ok > /srv/ok; exec sleep 600"
AS_THE_CONTAINER = "[CMD-SHELL, 'test \"$$WHO$$(id -u)$$(pwd)\" = me1000/tmp && test -f /tmp/ready']"
CHECKS = {
    "own-health-check-command": (health("[CMD, test, -f, /tmp/ready]"), LATE, ""),
    "own-health-check-text-is-for-a-shell": (health('"test -f /tmp/ready || exit 1"'), LATE, ""),
    "health-check-runs-as-the-container": (
        health(AS_THE_CONTAINER),
        LATE,
        "user: '1000:1000', working_dir: /tmp, environment: {WHO: me}",
    ),
    "health-check-waits-beside-x-moorage": (
        health("[CMD, test, -f, /tmp/ready]") + ", " + ready("exec: 'true'"),
        LATE,
        "",
    ),
    "x-moorage-waits-beside-a-health-check": (
        health("[CMD, 'true']") + ", " + ready("exec: test -f /tmp/ready"),
        LATE,
        "",
    ),
    "http": (ready("http: /ok"), WRITE_LATE, "ports: ['80']"),
    "http-port": (ready("http: {path: /ok, port: 80}"), WRITE_LATE, "ports: ['80']"),
    "http-status": (ready("http: {path: ok, status: 200}"), WRITE_LATE, "ports: ['80']"),
    "http-query": (ready("http: {path: '/ok?a=b'}"), WRITE_LATE, "ports: ['80']"),
    "http-of-a-port-that-is-not-published": (
        ready("http: {path: /ok, port: 8080}"),
        WRITE_LATE.replace("-p 80", "-p 8080"),
        "",
    ),
    "http-with-the-status-that-is-expected": (
        ready("http: {path: /x, status: 404}"),
        f"mkdir /srv; echo x > /srv/x; httpd -p 80 -h /srv; sleep {LATE_S}; rm /srv/x; exec sleep 600",
        "ports: ['80']",
    ),
    "a-proxy-that-accepts-is-not-ready": (ready("tcp: 80"), SERVE_LATE, "ports: ['80']"),
    "nor-is-it-with-no-check": ("", SERVE_LATE, "ports: ['80']"),
    "tcp-without-a-published-port": (ready("tcp: 80"), SERVE_LATE, ""),
    "one-published-port-that-answers-is-enough": (
        "",
        f"sleep {LATE_S}; exec httpd -f -p 81 -h /etc",
        "ports: ['80', '81']",
    ),
    "all-published-ports-must-answer": (
        ready("tcp: true"),
        f"httpd -p 80 -h /etc; sleep {LATE_S}; exec httpd -f -p 81 -h /etc",
        "ports: ['80', '81']",
    ),
    "ends-with-0": ("", f"sleep {LATE_S}; exit 0", ""),
    "ends-with-0-at-the-second-try": (
        "restart: on-failure",
        f"[ -f /tmp/1 ] || {{ touch /tmp/1; exit 1; }}; sleep {LATE_S}; exit 0",
        "",
    ),
    "log": (
        ready('log: "ready for \\\\w+ at \\\\d+$$"'),
        f"echo begins; sleep {LATE_S}; echo INFO: ready for connections at 80; exec sleep 600",
        "",
    ),
    "exec": (ready("exec: test -f /tmp/ready"), LATE, ""),
    "exec-words": (ready("exec: [test, -f, /tmp/ready]"), LATE, ""),
    "exec-shell": (ready("exec: ['sh', '-c', 'test -f /tmp/$$NAME']"), LATE, "environment: {NAME: ready}"),
    "exit": (ready("exit: 3"), f"sleep {LATE_S}; exit 3", ""),
}
"""Name → check, what the service's shell does, what else is to be said of it."""


async def test_every_kind_of_check(stack):
    """One stack with a service for each: none is ready before its check says so, all are in the end."""
    s = stack(
        "services:\n"
        + "".join(
            f"  {name}: {{image: '${{TINY_IMAGE}}', stop_grace_period: 0s, "
            + ", ".join(filter(None, [f"command: [sh, -c, '{command}']", check, more]))
            + "}\n"
            for name, (check, command, more) in CHECKS.items()
        )
    )
    # So long that what ends with 0 is ready by its end, and never by having stayed up.
    s.world = replace(s.world, settings=s.world.settings.model_copy(update={"settle_s": 60}))
    found = await s.up()
    assert [name for name, service in found.services.items() if not service.ready] == []
    took_s = {name: service.time_to_ready_s for name, service in found.services.items()}
    assert {name: early for name, early in took_s.items() if early + 0.2 < LATE_S} == {}
    assert set(took_s) == set(CHECKS)
    assert found.services["health-check-runs-as-the-container"].engine_health == "starting"  # it asks again in an hour
    assert (found.services["exit"].state, found.services["exit"].exit_code) == ("exited", 3)
    assert found.services["ends-with-0"].state == found.services["ends-with-0-at-the-second-try"].state == "exited"
    assert (await s.status()).state == "running"
    assert (await s.plan()).empty


async def test_a_port_that_is_not_published(stack):
    s = stack("""
        services:
          web:
            image: "${TINY_IMAGE}"
            command: httpd -f -p 80
            stop_grace_period: 0s
            x-moorage: {ready: {tcp: 80}}
    """)
    assert (await s.up()).services["web"].ready


async def test_a_check_whose_arguments_have_blanks(stack):
    """An engine may cut its arguments at them; what is asked, by us and by the engine, is what the definition says.

    Whether the engine asks at all is not looked at: Podman has systemd do it, where there is one.
    """
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            command: sleep 600
            init: true
            stop_grace_period: 0s
            healthcheck: {test: [CMD, sh, -c, 'test "$$0 $$1" = "a  b c"', "a  b", c], interval: 1s, retries: 3}
    """)
    await s.up()
    checked = s.container("web").attrs["Config"]["Healthcheck"]["Test"]
    kind, *words = checked
    assert (shlex.split(words[0]) if kind == "CMD-SHELL" else words) == [
        "sh",
        "-c",
        'test "$0 $1" = "a  b c"',
        "a  b",
        "c",
    ]
    assert (await s.status()).state == "running"
    assert (await s.plan()).empty


async def test_health_check_of_the_image(stack, docker_client):
    s = stack("services: {web: {build: ., stop_grace_period: 0s}}")
    s.write(
        "Dockerfile",
        f"""
        FROM {os.environ["TINY_IMAGE"]}
        HEALTHCHECK --interval=1h CMD test -f /tmp/ready
        CMD sleep {LATE_S}; touch /tmp/ready; exec sleep 600
    """,
    )
    try:
        await becomes_ready(s)
        never = "command: sleep 3600, healthcheck: {disable: true}"
        s.compose(f"services: {{web: {{build: ., stop_grace_period: 0s, {never}}}}}")
        await becomes_ready(s, at_least=0.2)
    finally:
        docker_client.images.remove(f"{s.name}-web", force=True)


async def test_a_check_with_side_effects_keeps_its_pace(stack):
    test = "[CMD-SHELL, 'echo >> /tmp/asked; test -f /tmp/ready']"
    quick = stack(service(health(test, interval="600ms"), LATE), "-a")
    await quick.up()
    slow = stack(service(health(test, interval="600ms"), LATE, "x-moorage: {probe: interval}"), "-b")
    await slow.up()
    asked = [int(s.sh("web", "wc -l < /tmp/asked")) for s in (quick, slow)]
    assert asked[0] >= 5
    assert asked[1] <= 5  # ours and the engine's own


async def test_exit_with_another_code(stack, machine_state):
    error = await stack(service(ready("exit: 3"), "exit 4")).fails(NotReadyError)
    assert (error.fields["reason"], error.fields["exit_code_of_service"]) == ("exited", 4)


async def test_staying_up(stack, machine_state):
    s = stack(service("", "exec sleep 600"))
    found = await becomes_ready(s, at_least=0.2)
    assert found.services["web"].time_to_ready_s >= 0.2  # settle_s of these tests
    await s.down(release_ports=True, volumes=True)
    s.compose(service("", "sleep 0.1; echo bye; exit 7"))
    error = await s.fails(NotReadyError)
    assert (error.fields["reason"], error.fields["exit_code_of_service"]) == ("exited", 7)
    assert error.fields["log"].strip() == "bye"


async def test_postgres_is_ready_when_it_answers_over_tcp(stack):
    s = stack("""
        services:
          web:
            image: ${POSTGRES_IMAGE}
            environment: {POSTGRES_USER: me, POSTGRES_PASSWORD: secret, POSTGRES_DB: mine}
            tmpfs: [/var/lib/postgresql/data]
            stop_grace_period: 0s
    """)
    found = await s.up()
    assert found.services["web"].ready
    assert s.sh("web", "PGPASSWORD=secret psql -h 127.0.0.1 -U me -d mine -Atc 'select 6 * 7'") == "42"


async def test_an_image_is_not_what_runs_in_it(stack):
    """Another port, a server in a shell, no server at all: none of them runs into the deadline of a guess."""
    s = stack("""
        services:
          port: {image: "${REDIS_IMAGE}", command: [redis-server, --port, "6380"], stop_grace_period: 0s}
          shell: {image: "${REDIS_IMAGE}", entrypoint: [sh, -c, "exec redis-server --port 6381"], stop_grace_period: 0s}
          none: {image: "${POSTGRES_IMAGE}", entrypoint: [sleep, infinity], stop_grace_period: 0s}
          client: {image: "${REDIS_IMAGE}", command: [redis-cli, -v]}
    """)
    found = await s.up()
    assert [name for name, service in found.services.items() if not service.ready] == []
    s.container("client").wait()  # it may have stayed up for long enough
    client = (await s.status()).services["client"]
    assert (client.state, client.exit_code, client.ready) == ("exited", 0, True)


@pytest.mark.parametrize("password", ["", "--requirepass secret"])
async def test_redis_is_ready_with_and_without_a_password(password, stack):
    s = stack(
        f"services: {{web: {{image: '${{REDIS_IMAGE}}', command: redis-server {password}, stop_grace_period: 0s}}}}"
    )
    await s.up()
    assert "PONG" in s.sh("web", f"redis-cli {password and '-a secret'} ping")


async def test_own_deadline_of_a_check(stack, machine_state):
    s = stack(service("x-moorage: {ready: {exec: 'echo not yet; false', timeout: 500ms}}", "exec sleep 600"))
    patient = s.world.settings.model_copy(update={"ready_timeout_s": 3600})
    s.world = replace(s.world, settings=patient)
    error = await s.fails(NotReadyError)
    assert error.fields["reason"] == "timeout"
    assert error.fields["waited_s"] >= 0.5
    assert "not yet" in error.fields["probe"]


async def test_a_check_that_hangs_is_cut_off(stack, machine_state):
    test = health("[CMD, sleep, '3600']", timeout="300ms", interval="300ms", retries="2")
    error = await stack(service(test, "exec sleep 600")).fails(NotReadyError)
    assert error.fields["reason"] in ("timeout", "unhealthy")


async def test_wait_timeout_cuts_every_deadline(stack, machine_state):
    error = await stack(service(health("[CMD, 'false']"), "exec sleep 600")).fails(NotReadyError, wait_timeout_s=0.6)
    assert error.fields["reason"] == "timeout"
