"""Who can reach the services of a throw-away stack in Dagger, whose engine has its tunnels listen on 0.0.0.0."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from moorage.adapters.dagger import loopback
from tests.contract.dagger_server import Session, wait_until
from tests.contract.test_dagger_stack import LISTENERS, LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project
    from tests.contract.conftest import FakeCli

WEB = "services: {web: {image: 'web:1', ports: ['80']}}\n"
ALL = "00000000"


@pytest.fixture
def web(project: Project, dagger_folder: Path, moorage_home: Path) -> Project:
    """A project with one published port. What `project.moorage` forks is there before the variables of a test."""
    project.moorage("--version")
    project.compose(WEB)
    project.env["TMPDIR"] = str(dagger_folder)
    return project


@pytest.fixture
def of_dagger_run(web: Project, session: Session) -> Session:
    """A session that somebody else has opened, and so listens for."""
    return session


@pytest.fixture
def cli(web: Project, fake_cli: FakeCli) -> FakeCli:
    return fake_cli


def listeners(web: Project, *args: str) -> tuple[set[str], str]:
    """The addresses at which ports of the stack can be reached, and what Moorage said."""
    done = web.moorage("ci", "--engine", "dagger", *args, "--", sys.executable, "-c", LISTENERS)
    return {address for _, address in json.loads(done.stdout)}, done.stderr


def test_a_session_that_listens_elsewhere_is_refused(web, of_dagger_run):
    failed = web.moorage("ci", "--engine", "dagger", "--", "true", exit_code=4)
    assert "every address of this machine (0.0.0.0)" in failed.stderr
    assert "whoever started `dagger run` listens" in failed.stderr
    assert "--expose" in failed.stderr
    assert "x-moorage: {dagger: {expose: true}}" in failed.stderr
    assert of_dagger_run.calls == []


def test_a_flag_allows_it_and_it_is_said(web, of_dagger_run):
    addresses, said = listeners(web, "--expose")
    assert addresses == {ALL}
    assert "note: published ports are open on every address of this machine (0.0.0.0)" in said


def test_the_definition_allows_it(web, of_dagger_run):
    web.compose(f"{WEB}x-moorage: {{dagger: {{expose: true}}}}\n")
    assert listeners(web)[0] == {ALL}


@pytest.mark.exhaustive
def test_without_a_published_port_there_is_nothing_to_refuse(web, of_dagger_run):
    web.compose("services: {web: {image: 'web:1'}}\n")
    assert "note:" not in web.moorage("ci", "--engine", "dagger", "--", "true").stderr


@pytest.mark.exhaustive
def test_a_session_of_our_own_is_kept_to_this_machine(web, cli):
    addresses, said = listeners(web)
    assert addresses == {LOOPBACK}
    assert "note:" not in said


def test_an_engine_behind_tcp_is_reached_from_its_network(web, cli, monkeypatch):
    monkeypatch.setenv("MOORAGE_DAGGER_RUNNER_HOST", cli.engine.tcp)
    assert listeners(web)[0] == {LOOPBACK}
    assert cli.environment["_EXPERIMENTAL_DAGGER_RUNNER_HOST"].startswith("unix://")
    cli.assert_gone()


@pytest.mark.exhaustive
def test_the_way_to_an_engine_behind_tcp_ends_with_a_killed_run(web, cli, monkeypatch):
    monkeypatch.setenv("MOORAGE_DAGGER_RUNNER_HOST", cli.engine.tcp)
    with web.start("ci", "--engine", "dagger", "--", "sleep", "3600") as process:
        assert wait_until(lambda: cli.session.listening)
        process.kill()
        process.wait()
    assert wait_until(lambda: cli.session.listening == [])
    web.moorage("ls")


@pytest.mark.parametrize(
    ("runner", "docker", "why"),
    [
        ("kube-pod://dagger?context=c", None, "kube-pod://dagger?context=c cannot be reached from a network"),
        (
            "docker-container://dagger",
            "tcp://docker.example.org:2376",
            "Docker engine at tcp://docker.example.org:2376",
        ),
        ("", "ssh://me@docker.example.org", "Docker engine at ssh://me@docker.example.org"),
        ("docker-container://dagger", "unix:///var/run/docker.sock", None),
        ("", "unix:///var/run/docker.sock", None),
        ("unix:///run/dagger.sock", "tcp://docker.example.org:2376", None),
        ("tcp://dagger.example.org:8080", "tcp://docker.example.org:2376", None),
    ],
)
def test_whether_the_engine_can_be_reached_from_another_network(monkeypatch, runner, docker, why):
    monkeypatch.delenv("DAGGER_SESSION_PORT", raising=False)
    if docker:
        monkeypatch.setenv("DOCKER_HOST", docker)
    found = loopback.why_not({"_EXPERIMENTAL_DAGGER_RUNNER_HOST": runner} if runner else {})
    assert (found is None) if why is None else (why in str(found))


WITH_NETWORKS = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
WITHOUT = [
    *("unshare", "-U", "--map-root-user", "sh", "-ec", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh"),
    *("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--ambient-caps", "-all"),
]
"""As a user without any capability, where user namespaces can be made and where not (util-linux)."""
TRY = "from moorage.adapters.dagger import loopback as l; print(l.why_not({'_EXPERIMENTAL_DAGGER_RUNNER_HOST': 'unix:///x'}))"


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        (WITH_NETWORKS, "None"),
        (WITHOUT, "this user cannot make a network namespace: /proc/sys/user/max_user_namespaces"),
    ],
)
def test_a_user_without_rights_makes_one_where_the_system_lets_him(monkeypatch, user, answer):
    monkeypatch.delenv("DAGGER_SESSION_PORT", raising=False)
    done = subprocess.run([*user, sys.executable, "-c", TRY], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(answer), done.stderr
