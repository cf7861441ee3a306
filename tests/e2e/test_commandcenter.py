"""The example as a newcomer meets it: two copies side by side, each front end with its own API, data that stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT, Project

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.engine, pytest.mark.e2e, pytest.mark.timeout(900)]

EXAMPLE = ROOT / "examples" / "commandcenter"


def get(url: str, body: Any = None, **headers: str) -> tuple[Any, Any]:
    """(JSON, headers) of an address; POST if there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers


def url(status: dict[str, Any], service: str) -> str:
    """Where a service answers on this host."""
    return f"http://localhost:{status['services'][service]['ports'][0]['published']}"


def copy_of_example(path: Path) -> Project:
    shutil.copytree(EXAMPLE, path, ignore=shutil.ignore_patterns("node_modules", "dist"))
    return Project(path, path.name)


def api_of_front_end(status: dict[str, Any]) -> str:
    """The API address that the front end hands to browsers."""
    config, _ = get(f"{url(status, 'frontend')}/config.json")
    api: str = config["apiUrl"]
    return api


@pytest.fixture
def two_copies(tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient) -> tuple[Project, Project]:
    return copy_of_example(tmp_path / f"{stack_prefix}-one"), copy_of_example(tmp_path / f"{stack_prefix}-two")


def test_two_copies_run_side_by_side(two_copies: tuple[Project, Project]) -> None:
    first, second = [copy.moorage("up", "--json", timeout_s=300).json for copy in two_copies]
    published = [{p["published"] for s in up["services"].values() for p in s["ports"]} for up in (first, second)]
    assert len(published[0]) == len(published[1]) == 4
    assert not published[0] & published[1]
    assert not set(first["networks"]) & set(second["networks"])
    for up in (first, second):
        assert up["state"] == "running"
        assert api_of_front_end(up) == url(up, "backend"), "the front end was told the leased port of its own API"
        health, headers = get(f"{url(up, 'backend')}/health", Origin=url(up, "frontend"))
        assert headers["Access-Control-Allow-Origin"] == url(up, "frontend"), "and a browser may ask there"
        assert health
    get(f"{url(first, 'backend')}/api/notes", {"body": "only in the first"})
    assert "only in the first" in json.dumps(get(f"{url(first, 'backend')}/api/notes")[0])
    assert "only in the first" not in json.dumps(get(f"{url(second, 'backend')}/api/notes")[0]), "volumes are apart"
    data_survives_down_and_up(two_copies[0], first)
    for copy in two_copies:
        copy.moorage("down", "--volumes", "--release-ports")


def data_survives_down_and_up(copy: Project, before: dict[str, Any]) -> None:
    copy.moorage("down")
    after = copy.moorage("up", "--json").json
    assert url(after, "backend") == url(before, "backend"), "leases are sticky"
    assert "only in the first" in json.dumps(get(f"{url(after, 'backend')}/api/notes")[0])


@pytest.mark.exhaustive
def test_two_worktrees_of_one_repository(tmp_path: Path, stack_prefix: str, docker_client: docker.DockerClient) -> None:
    main = copy_of_example(tmp_path / stack_prefix)
    identity = {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
    }

    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=main.path, env=os.environ | identity, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", "-A", "-f")
    git("commit", "-q", "-m", "x")
    git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "feature/login")
    tree = Project(tmp_path / "other", f"{stack_prefix}-feature-login")
    ups = [project.moorage("up", "--json", timeout_s=300).json for project in (main, tree)]
    assert [up["stack"] for up in ups] == [stack_prefix, f"{stack_prefix}-feature-login"]
    assert api_of_front_end(ups[0]) != api_of_front_end(ups[1])
    for up in ups:
        assert get(f"{api_of_front_end(up)}/health")[0]
    for project in (main, tree):
        project.moorage("down", "--volumes", "--release-ports")
