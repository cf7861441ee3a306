"""The log of a stack: merged, followed, of stopped and failed services, of whatever a program writes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moorage.errors import EngineUnavailableError, NotReadyError
from moorage.model.log import LogSpan
from moorage.work.queries.logs import Logs
from tests.conftest import run_moorage

pytestmark = pytest.mark.engine

MOORAGE = str(Path(sys.executable).with_name("moorage"))
LINES = 10_000
# Counts on through restarts; each run goes on until it is told to stop, and a little beyond; the third one ends.
COUNTER = """
    services:
      counter:
        image: ${TINY_IMAGE}
        volumes: ["data:/data"]
        stop_grace_period: 20s
        command:
          - sh
          - -c
          - |
            n=$$(cat /data/n 2>/dev/null || echo 0); run=$$(($$(cat /data/run 2>/dev/null || echo 0) + 1))
            echo $$run > /data/run
            trap 'stopping=1' TERM
            most=$$((run * 3400)); [ $$run = 3 ] && most=10000
            while [ -z "$$stopping" ]; do
              if [ $$n -lt $$most ]; then
                n=$$((n + 1)); echo "$$n"
                [ $$((n % 50)) = 0 ] && sleep 0.01
              elif [ $$run = 3 ]; then exit 0
              else sleep 0.05; fi
            done
            for _ in 1 2 3 4 5 6 7 8 9 10; do n=$$((n + 1)); echo "$$n"; done
            echo "$$n" > /data/n
      other: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s}
    volumes: {data: {}}
"""


def moorage(s, *args, exit_code=0):
    done = run_moorage(*args, directory=s.path)
    assert done.returncode == exit_code, done
    return done


def at_least(file, lines):
    """Wait until the follower has written so many lines."""
    while file.read_bytes().count(b"\n") < lines:
        time.sleep(0.02)


def follow(s, out, *args):
    return subprocess.Popen([MOORAGE, "logs", "--follow", "--no-log-prefix", *args], cwd=s.path, stdout=out)


@pytest.mark.timeout(600)
async def test_follow_loses_and_repeats_no_line_across_restarts(stack, tmp_path):
    s = stack(COUNTER)
    await s.up()
    written = tmp_path / "written"
    with written.open("w") as out:
        following = follow(s, out, "counter", "other")
        try:
            await asyncio.to_thread(at_least, written, 1000)
            await s.restart("counter")
            await asyncio.to_thread(at_least, written, 4500)
            await s.restart("counter", recreate=True)
            await asyncio.to_thread(s.container("counter").wait, timeout=100)
            assert following.poll() is None  # the other service runs on
            await s.down()
            assert await asyncio.to_thread(following.wait, 60) == 0
        finally:
            following.kill()
    assert written.read_text().split() == [str(n) for n in range(1, LINES + 1)]


async def test_merged_in_time_order_and_cut_as_asked(stack):
    s = stack("""
        services:
          a: &one
            image: ${TINY_IMAGE}
            command: [sh, -c, "for i in 1 2 3; do echo a$$i; sleep 0.2; done"]
            x-moorage: {ready: {exit: 0}}
          b: {<<: *one, command: [sh, -c, "sleep 0.1; for i in 1 2 3; do echo b$$i >&2; sleep 0.2; done"]}
    """)
    await s.up()
    lines = [json.loads(line) for line in moorage(s, "logs", "--json").stdout.splitlines()]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert {(line["service"], line["stream"]) for line in lines} == {("a", "stdout"), ("b", "stderr")}
    assert sorted(line["message"] for line in lines) == ["a1", "a2", "a3", "b1", "b2", "b3"]
    assert [line["message"] for line in lines if line["service"] == "a"] == ["a1", "a2", "a3"]
    assert sorted(moorage(s, "logs", "--tail", "1").stdout.split("\n")) == ["", "a-1 | a3", "b-1 | b3"]
    third = [line["time"] for line in lines if line["service"] == "a"][2]
    assert moorage(s, "logs", "a", "--since", third, "-t").stdout == f"a-1 | {third} a3\n"
    assert "a3" not in moorage(s, "logs", "a", "--until", third.replace(third[-10:], "000000000Z")).stdout
    assert moorage(s, "logs", "--since", "1h", "--tail", "0").stdout == ""
    unknown = moorage(s, "logs", "c", exit_code=2)
    assert "no service 'c'" in unknown.stderr
    assert "Services: a, b." in unknown.stderr
    assert "--since: 'soon' is not a valid time" in moorage(s, "logs", "--since", "soon", exit_code=2).stderr


async def test_whatever_a_program_writes(stack):
    long = "printf %040000d 0"
    s = stack(f"""
        services:
          odd:
            image: ${{TINY_IMAGE}}
            environment: {{API_PASSWORD: correct-horse}}
            command: [sh, -c, 'printf "\\377\\376bin\\n\\033]0;title\\007\\033[31mred\\033[0m\\n$$API_PASSWORD\\nno end"']
            x-moorage: {{ready: {{exit: 0}}}}
          long: {{image: "${{TINY_IMAGE}}", command: [sh, -c, "{long}; echo; echo end"], x-moorage: {{ready: {{exit: 0}}}}}}
          screen: {{image: "${{TINY_IMAGE}}", tty: true, command: [sh, -c, "echo one; {long}; echo; echo end"],
                    x-moorage: {{ready: {{exit: 0}}}}}}
    """)
    await s.up()
    assert moorage(s, "logs", "odd", "--no-log-prefix").stdout == "\ufffd\ufffdbin\nred\n****\nno end\n"
    assert "correct-horse" in moorage(s, "logs", "odd", "--show-secrets").stdout
    (first, *_) = moorage(s, "logs", "odd", "--json").stdout.splitlines()
    assert json.loads(first)["message"] == "\ufffd\ufffdbin"
    assert moorage(s, "logs", "long", "--no-log-prefix").stdout == f"{'0' * 40_000}\nend\n"
    assert moorage(s, "logs", "screen", "--no-log-prefix").stdout == f"one\n{'0' * 40_000}\nend\n"


async def test_of_stopped_and_of_failed_services(stack):
    s = stack("""
        services:
          db: {image: "${TINY_IMAGE}", command: [sh, -c, "echo I am db; exec sleep 3600"], stop_grace_period: 0s}
          web: {image: "${TINY_IMAGE}", environment: {TOKEN: hush-hush-hush}, depends_on: [db],
                command: [sh, -c, "echo last words $$TOKEN; exit 3"], stop_grace_period: 0s}
    """)
    await s.fails(NotReadyError)
    assert moorage(s, "logs", "--failed", "--no-log-prefix", "web").stdout == "last words ****\n"
    assert moorage(s, "logs", "--failed").stdout.splitlines() == ["db  | I am db", "web | last words ****"]
    facts = json.loads(moorage(s, "logs", "--failed", "--json", "db").stdout)
    assert (facts["service"], facts["message"]) == ("db", "I am db")
    assert 'Did you mean "web"?' in moorage(s, "logs", "--failed", "wbe", exit_code=2).stderr

    s.compose((s.path / "compose.yaml").read_text().replace("exit 3", "exec sleep 3600"))
    await s.up()
    await s.stop()
    assert moorage(s, "logs", "--follow").stdout.splitlines() == ["db-1  | I am db", "web-1 | last words ****"]


async def test_readiness_by_log_is_not_fooled_by_the_start_before(stack):
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            command: [sh, -c, "test -f /was && sleep 1; touch /was; echo up and running; exec sleep 3600"]
            stop_grace_period: 0s
            x-moorage: {ready: {log: up and running}}
    """)
    await s.up()
    await s.restart()
    assert s.log("web").count("up and running") == 2


async def test_what_no_driver_keeps_is_said(stack):
    s = stack("""
        services:
          web: {image: "${TINY_IMAGE}", command: [sleep, "3600"], stop_grace_period: 0s, logging: {driver: none}}
    """)
    await s.up()
    assert "logging driver" in moorage(s, "logs").stderr


async def test_an_engine_that_goes_away_before_the_past_is_through(stack, world, monkeypatch):
    s = stack("""
        services:
          web: {image: "${TINY_IMAGE}", command: [sh, -c, "seq 200; exec sleep 600"], stop_grace_period: 0s,
                x-moorage: {ready: {log: "200"}}}
    """)
    await s.up()
    await s.stop()
    read, cut = world.streams.log, []

    def breaks_once(*args, **options):
        for number, record in enumerate(read(*args, **options)):
            if number == 50 and not cut:
                cut.append(number)
                raise EngineUnavailableError("cut off")
            yield record

    monkeypatch.setattr(world.streams, "log", breaks_once)
    said = []
    log = Logs(world, s.name, ("web",), LogSpan(), said.append)
    lines = [line.text for line in log.past(more=True)]
    assert len(lines) == 50
    lines += [line.text for bundle in log.follow() for line in bundle]
    assert lines == [str(number) for number in range(1, 201)]
    assert said[0] == "the engine was away and answers again"


def test_a_container_that_is_gone_has_no_log(world):
    assert list(Logs(world, "mt-nothing-of-that-name", (), LogSpan()).past()) == []
    assert list(world.streams.log("mt-nothing-of-that-name", LogSpan(), on_open=lambda _close: None)) == []
