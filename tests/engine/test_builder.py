"""Who builds, from the command line; projects without a Dockerfile."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.conftest import Project

NO_DAGGER = {"XDG_CACHE_HOME": "/nonexistent", "DAGGER_SESSION_PORT": "", "_EXPERIMENTAL_DAGGER_CLI_BIN": ""}


@pytest.fixture
def built(project: Project, tiny_image: str) -> Project:
    project.write("Dockerfile", f'FROM {tiny_image}\nCMD ["sleep", "600"]\n')
    return project.compose("services: {web: {build: ., init: true}}")


def test_dagger_that_is_not_there_is_refused_in_one_screen(built, machine_state):
    failed = built.moorage("up", "--builder", "dagger", exit_code=4, **NO_DAGGER)
    assert "dagger cannot be used: there is no Dagger CLI" in failed.stderr
    assert "MOORAGE_DAGGER_CLI" in failed.stderr
    assert len(failed.stderr.splitlines()) <= 24
    names = [stack["name"] for stack in built.moorage("ls", "--json").json]
    assert built.name not in names  # no stack was written down


@pytest.mark.parametrize("how", ["setting", "file"])
def test_dagger_may_be_asked_for_elsewhere(built, machine_state, how):
    env = dict(NO_DAGGER)
    if how == "setting":
        env["MOORAGE_BUILDER"] = "dagger"
    else:
        built.compose("services: {web: {build: ., init: true}}\nx-moorage: {builder: dagger}\n")
    assert built.moorage("up", "--json", exit_code=4, **env).json["error"] == "BackendUnavailableError"


def test_a_field_that_dagger_has_nothing_for_is_named(built, machine_state):
    built.compose("services: {web: {build: {context: ., shm_size: 64m}, init: true}}")
    failed = built.moorage("up", "--builder", "dagger", "--json", exit_code=2, **NO_DAGGER).json
    assert failed["error"] == "UnsupportedByBackendError"
    assert failed["key"] == "services.web.build.shm_size"


def test_auto_never_looks_at_dagger(built):
    """No import of the SDK, no look for a CLI: what is not done costs nothing."""
    code = (
        "import sys; from moorage.cli import call; call(['plan', '--json']); "
        "print([name for name in sys.modules if 'dagger' in name], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=built.path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_project_without_a_dockerfile_comes_up(project, machine_state):
    """From `init --template` on, and by itself: the same recipe."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], check=True, capture_output=True, text=True)
    images = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)
    project.write("backend/requirements.txt", "# nothing\n")
    project.write("backend/main.py", "import http.server as h\nh.test(h.SimpleHTTPRequestHandler, port=8000)\n")
    project.compose(
        f"services: {{backend: {{build: {{context: backend, args: {{PYTHON_IMAGE: '{images['PYTHON_IMAGE']}'}}}}, ports: ['8000']}}}}"
    )
    up = project.moorage("up", "--json").json
    assert up["services"]["backend"]["ready"]
    assert project.moorage("up", "--json").json["changed"] == []
    project.moorage("down", "--volumes", "--release-ports")
    (project.path / "compose.yaml").unlink()
    written = project.moorage("init", "--template", "commandcenter", ".", "--json").json["files"]
    assert written == ["backend/.dockerignore", "backend/Dockerfile", "compose.live.yaml", "compose.yaml"]
    config = json.loads(project.moorage("config", "--json").stdout)
    assert set(config["services"]) == {"postgres", "redis", "backend"}


def of_build(docker_client: Any, project: Project) -> list[str]:
    """The intermediate containers of its builds: they have the labels of the image so far."""
    return [one["Id"] for one in docker_client.api.containers(all=True, filters={"label": f"who={project.name}"})]


def test_a_failed_build_leaves_no_container(project, tiny_image, machine_state, docker_client):
    project.write("Dockerfile", f"FROM {tiny_image}\nLABEL who={project.name}\nRUN echo before\nRUN exit 3\n")
    project.compose("services: {web: {build: .}}")
    said = project.moorage("up", exit_code=5).stderr
    assert said.count("FAILED build web") == 1
    assert of_build(docker_client, project) == []


@pytest.mark.exhaustive
def test_a_killed_build_leaves_no_container_to_the_next_command(project, tiny_image, machine_state, docker_client):
    project.write("Dockerfile", f"FROM {tiny_image}\nLABEL who={project.name}\nRUN echo hello; sleep 3600\n")
    project.compose("services: {web: {build: .}}")
    with project.start("up", stdout=subprocess.DEVNULL) as process:
        assert any("| hello" in line for line in process.stderr)
        process.kill()
    assert of_build(docker_client, project)
    project.write("Dockerfile", f"FROM {tiny_image}\n")
    project.moorage("build")
    assert of_build(docker_client, project) == []
