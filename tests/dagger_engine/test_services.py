"""Throw-away stacks in a real engine of Dagger: what makes a service ready, what ends it, who can reach it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from moorage.adapters.dagger.preflight import runner_host
from moorage.settings import Settings
from tests.conftest import Project
from tests.contract.dagger_server import wait_until
from tests.contract.test_dagger_stack import LISTENERS, LOOPBACK
from tests.dagger_engine.conftest import SMALL

pytestmark = [pytest.mark.timeout(900)]

SITE = f"""
services:
  web:
    image: {SMALL}
    command: [sh, -c, "cp /run/secrets/key /srv/key; exec httpd -f -p 80 -h /srv"]
    init: true
    ports: ["80"]
    secrets: [key]
    configs: [{{source: conf, target: /srv/conf}}]
    volumes:
      - {{type: bind, source: ./page.html, target: /srv/index.html, read_only: true}}
      - {{type: bind, source: ./more, target: /srv/more, read_only: true}}
secrets: {{key: {{file: ./key}}}}
configs: {{conf: {{content: "a: 1"}}}}
"""
READ = """
import json, os, urllib.request as u
read = lambda path: u.urlopen(os.environ["MOORAGE_URL_WEB_80"] + path, timeout=60).read().decode()
print(json.dumps([read(path) for path in ("/", "/more/deep.html", "/conf", "/key")]))
"""


def ci(project: Project, *command: str, exit_code: int = 0, args: tuple[str, ...] = ()):
    return project.moorage("ci", "--engine", "dagger", *args, "--", *command, exit_code=exit_code, timeout_s=800)


def service(command: str, **more: object) -> str:
    made = {"image": SMALL, "command": ["sh", "-c", command], "init": True, **more}
    return json.dumps({"services": {"web": made}})


@pytest.fixture
def site(lone: Project) -> Project:
    lone.compose(SITE)
    for name, text in {"page.html": "page", "more/deep.html": "deep", "key": "secret"}.items():
        lone.write(name, text)
    return lone


def test_files_folders_configs_and_secrets_are_mounted(site):
    assert json.loads(ci(site, sys.executable, "-c", READ).stdout) == ["page", "deep", "a: 1", "secret"]


def test_nobody_on_the_network_reaches_a_service(site):
    (place,) = json.loads(ci(site, sys.executable, "-c", LISTENERS).stdout)
    assert place[1] == LOOPBACK


def test_what_may_be_open_to_the_network_is(site):
    done = ci(site, sys.executable, "-c", LISTENERS, args=("--expose",))
    assert {place[1] for place in json.loads(done.stdout)} <= {"00000000", "0" * 32}
    assert "open on every address" in done.stderr


@pytest.fixture
def tcp_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The engine behind an address of TCP, whatever its own is."""
    host = runner_host(Settings()) or ""
    at = urlsplit(host)
    if at.scheme == "tcp":
        yield host
        return
    if at.scheme != "unix":
        pytest.fail("this test needs an engine at unix:///PATH or tcp://HOST:PORT: set MOORAGE_DAGGER_RUNNER_HOST")
    front = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                here, _ = front.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(at.path)
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"tcp://127.0.0.1:{front.getsockname()[1]}"
    with suppress(OSError):
        front.shutdown(socket.SHUT_RDWR)
    front.close()


def test_an_engine_behind_tcp(site, tcp_engine):
    site.env["MOORAGE_DAGGER_RUNNER_HOST"] = tcp_engine
    assert json.loads(ci(site, sys.executable, "-c", READ).stdout)[0] == "page"
    (place,) = json.loads(ci(site, sys.executable, "-c", LISTENERS).stdout)
    assert place[1] == LOOPBACK


def test_ctrl_c_leaves_nothing(site):
    with site.start("ci", "--engine", "dagger", "--", "sh", "-c", "echo begun; sleep 300") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(120) in (130, 128 + signal.SIGINT)
    assert wait_until(lambda: site.moorage("ls", "--json").json == [])


def test_a_kill_leaves_nothing_of_the_session(site):
    """The command is ended by the next call, whatever its verb, as without Dagger."""
    with site.start("ci", "--engine", "dagger", "--", "sh", "-c", "echo begun; sleep 300") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.kill()
        process.wait()
    assert site.moorage("ls", "--json").json == []


def test_a_service_that_sleeps_before_it_listens_is_not_ready(lone):
    lone.compose(service("sleep 20; exec httpd -f -p 80 -h /etc", ports=["80"]))
    failed = ci(lone, "true", exit_code=5, args=("--wait-timeout", "5"))
    assert "services.web: not ready after 5.0 s" in failed.stderr
    look = "import os, urllib.request as u; u.urlopen(os.environ['MOORAGE_URL_WEB_80'] + '/passwd', timeout=60)"
    ci(lone, sys.executable, "-c", look)


@pytest.mark.parametrize("ready", [{"ports": ["80"]}, {"healthcheck": {"test": ["CMD", "false"], "interval": "60s"}}])
def test_a_service_that_ends_shows_its_output(lone, ready):
    lone.compose(service("echo no such key >&2; exit 3", **ready))
    failed = ci(lone, "true", exit_code=5)
    assert "services.web: ended with exit code 3 before it was ready" in failed.stderr
    assert "no such key" in failed.stderr
    assert "traceparent" not in failed.stderr


def test_a_service_that_ends_in_its_health_check_shows_its_output(lone):
    """With one try, most often the check notices the end, and not the engine."""
    check = {"test": ["CMD", "false"], "interval": "1s", "retries": 1}
    lone.compose(service("echo no such key >&2; exit 3", healthcheck=check))
    failed = ci(lone, "true", exit_code=5)
    assert "before it was ready" in failed.stderr
    assert "no such key" in failed.stderr.replace("echo no such key", "")


def test_a_health_check_is_run_and_waited_for(lone):
    check = {"test": ["CMD-SHELL", "test -e /tmp/well"], "interval": "1s", "retries": 60}
    look = "import os, urllib.request as u; u.urlopen(os.environ['MOORAGE_URL_WEB_80'] + '/well', timeout=60)"
    lone.compose(service("(sleep 5; touch /tmp/well) & exec httpd -f -p 80 -h /tmp", ports=["80"], healthcheck=check))
    ci(lone, sys.executable, "-c", look)


def test_a_health_check_that_fails_shows_its_output(lone):
    check = {"test": ["CMD-SHELL", "echo feeling bad; exit 1"], "interval": "1s", "retries": 2}
    lone.compose(service("exec httpd -f -p 80", ports=["80"], healthcheck=check))
    failed = ci(lone, "true", exit_code=5)
    assert "services.web: its health check failed" in failed.stderr
    assert "feeling bad" in failed.stderr


@pytest.mark.parametrize("health", ["HEALTHCHECK NONE", "HEALTHCHECK --interval=1s CMD false"])
def test_a_health_check_can_be_off(lone, health):
    lone.write("Dockerfile", f'FROM {SMALL}\n{health}\nEXPOSE 9999\nCMD ["httpd", "-f", "-p", "80"]\n')
    off = {} if "NONE" in health else {"healthcheck": {"disable": True}}
    lone.compose(json.dumps({"services": {"web": {"build": ".", "init": True, "ports": ["80"], **off}}}))
    ci(lone, "true")


def test_what_ignores_its_signal_is_killed(lone):
    lone.compose(service("exec httpd -f -p 80", ports=["80"], init=False, stop_grace_period="3s"))
    done = ci(lone, "true")
    assert "web: killed: it ignored SIGTERM for 3 s" in done.stderr
