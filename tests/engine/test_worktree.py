"""Branches side by side: each worktree has its stack, which goes with it; a foreign project is left alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
COMPOSE = """
services:
  web:
    image: '{image}'
    init: true
    command: [httpd, -f, -p, "80", -h, /etc]
    ports: ["{port}:80"]
    volumes: ["data:/data"]
volumes: {{data: {{}}}}
"""
BROKEN = """
services: {{web: {{image: '{image}', command: "false"}}}}
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def shop(project, tiny_image, wanted_port):
    project.compose(COMPOSE.format(image=tiny_image, port=wanted_port))
    git(project.path, "init", "-q")
    git(project.path, "add", "-A")
    git(project.path, "commit", "-q", "-m", "first")
    return project


def names(client, prefix):
    return {c.name for c in client.containers.list(all=True, ignore_removed=True) if c.name.startswith(prefix)}


def test_a_branch_comes_and_goes(shop, docker_client, wanted_port, tiny_image):
    main = shop.moorage("up", "--json").json
    added = shop.moorage("worktree", "add", "feature/login", "--json").json
    tree = shop.path.parent / f"{shop.name}-feature-login"
    stack = f"{shop.name}-feature-login"
    assert (added["stack"], added["path"]) == (stack, str(tree))
    ports = [one["services"]["web"]["ports"][0]["published"] for one in (main, added)]
    assert ports[0] == wanted_port != ports[1]
    assert {volume.name for volume in docker_client.volumes.list() if volume.name.startswith(shop.name)} == {
        f"{shop.name}_data",
        f"{stack}_data",
    }
    listed = {one["branch"]: one for one in shop.moorage("worktree", "ls", "--json").json}
    assert listed["main"]["stack"] == shop.name
    assert (listed["feature/login"]["stack"], listed["feature/login"]["state"]) == (stack, "running")
    assert "feature/login" in shop.moorage("worktree", "ls").stdout
    line = next(one for one in shop.moorage("ls").stdout.splitlines() if one.startswith(stack))
    assert line.split()[3:5] == [shop.name, "feature/login"]

    (tree / "unsaved").write_text("precious")
    refused = shop.moorage("worktree", "remove", "feature/login", exit_code=2)
    assert "uncommitted changes" in refused.stderr
    assert f"{stack}-web-1" in names(docker_client, stack), "nothing was taken down for it"
    removed = shop.moorage("worktree", "remove", "feature/login", "--force", "--json").json
    assert removed["stacks"] == [stack]
    assert not tree.exists()
    assert not names(docker_client, stack)
    listed = [one["name"] for one in shop.moorage("ls", "--json").json if one["name"].startswith(shop.name)]
    assert listed == [shop.name]
    assert "feature/login" in git(shop.path, "branch", "--list"), "the branch stays"
    assert f"{stack}_data" in {volume.name for volume in docker_client.volumes.list()}, "and the data"

    for wrong in ("-x", "a..b", "a b"):
        shop.moorage("worktree", "add", "--no-up", "--", wrong, exit_code=2)
    shop.moorage("worktree", "remove", "main", "--force", exit_code=2)
    assert shop.path.is_dir()

    # One whose stack does not come up.
    shop.write("compose.yaml", BROKEN.format(image=tiny_image))
    git(shop.path, "commit", "-q", "-a", "-m", "broken")
    failed = shop.moorage("worktree", "add", "broken", "--path", str(shop.path.parent / "elsewhere"), exit_code=5)
    assert "stays" in failed.stderr
    assert (shop.path.parent / "elsewhere" / "compose.yaml").exists()
    assert not names(docker_client, f"{shop.name}-broken"), "undone"
    shop.moorage("worktree", "remove", "broken")


@pytest.mark.usefixtures("lone_home")
def test_sweep_ends_the_stacks_of_removed_worktrees_and_nothing_else(shop, docker_client, stack_prefix, tiny_image):
    tree = shop.path.parent / "gone"
    deleted = shop.path.parent / "deleted"
    for branch, path in (("gone", tree), ("deleted", deleted)):
        shop.moorage("worktree", "add", branch, "--path", str(path))
    stacks = [f"{shop.name}-gone", f"{shop.name}-deleted"]
    foreign = Project(shop.path.parent / f"{stack_prefix}-foreign", f"{stack_prefix}-foreign")
    foreign.path.mkdir()
    foreign.compose(f"""
        services: {{web: {{image: '{tiny_image}', command: sleep 600, init: true, volumes: ['data:/data']}}}}
        volumes: {{data: {{}}}}
    """)
    from moorage.adapters.compose.cli import ComposeCli
    from moorage.settings import Settings

    ComposeCli(Settings()).create(foreign.name, foreign.path / "compose.yaml", (), False, lambda _line: None)
    docker_client.containers.get(f"{foreign.name}-web-1").start()
    # Its directory is gone too, which is no business of ours.
    shutil.rmtree(foreign.path)
    git(shop.path, "worktree", "remove", "--force", str(tree))
    shutil.rmtree(deleted)
    looked = shop.moorage("sweep", "--json").json
    assert sorted(one["stack"] for one in looked if one["kind"] == "stack" and one["left"]) == sorted(stacks)
    found = shop.moorage("sweep", "--json", MOORAGE_SWEEP_AGAIN_S="0").json
    assert sorted(one["stack"] for one in found if one["kind"] == "stack" and one["swept"]) == sorted(stacks)
    assert not [one for stack in stacks for one in names(docker_client, stack)]
    left = docker_client.containers.get(f"{foreign.name}-web-1")
    assert left.status == "running"
    assert f"{foreign.name}_data" in {volume.name for volume in docker_client.volumes.list()}
    assert f"{foreign.name}_default" in {network.name for network in docker_client.networks.list()}
    assert not tree.exists()
