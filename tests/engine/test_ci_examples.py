"""The files that people copy: their steps are parsed from the YAML and run, as the CI server would."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.action import Runner
from tests.conftest import ROOT
from tests.documents import block_with, blocks

if TYPE_CHECKING:
    import docker

    from tests.conftest import MachineState, Project

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def clone(tmp_path: Path, stack_prefix: str, machine_state: MachineState, moorage_home: Path) -> Path:
    """A clean clone of a project made of `examples/pytest`; at the end the machine is as it was."""
    origin = tmp_path / "origin"
    shutil.copytree(ROOT / "examples" / "pytest", origin, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], cwd=origin, check=True)
    subprocess.run(["git", "clone", "-q", origin, tmp_path / stack_prefix], check=True)
    return tmp_path / stack_prefix


def run_steps(clone: Path, steps: list[str], env: dict[str, str], shell: str = "bash -e") -> list[tuple[int, str]]:
    """Run shell steps until one fails; gives exit code and output of each. `pip` finds all it wants installed."""
    base = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = []
    for step in steps:
        ran = subprocess.run(
            [*shell.split(), "-c", step],
            cwd=clone,
            env={**base, "PATH": path, "PIP_NO_INDEX": "1", "COMPOSE_PROJECT_NAME": clone.name, **env},
            capture_output=True,
            text=True,
            timeout=200,
        )
        done.append((ran.returncode, ran.stdout + ran.stderr))
        if ran.returncode:
            break
    return done


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


class GitHub:
    """The job of the workflow: its own `run` steps, and those of the action that it uses."""

    def __init__(self, clone: Path, temp: Path, python: Path) -> None:
        self.steps: list[dict[str, Any]] = yaml.safe_load((ROOT / "examples" / "github-actions.yml").read_text())[
            "jobs"
        ]["test"]["steps"]
        (place := temp / "runner").mkdir()
        path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        env = {"PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "COMPOSE_PROJECT_NAME": clone.name}
        self.runner = Runner(clone, place, env)

    def run(self) -> tuple[int | None, str]:
        """Exit code and output of the step that runs the tests."""
        own = [step["run"] for step in self.steps if "run" in step]
        (step,) = (one for one in self.steps if "/moorage@" in one.get("uses", ""))
        done = run_steps(self.runner.workspace, own, self.runner.env)
        assert [code for code, _ in done] == [0] * len(own), done
        # The server's variables are empty, as in a repository that does not have them.
        self.runner.env |= {key: re.sub(r"\$\{\{.*?\}\}", "", value) for key, value in step["env"].items()}
        install, test, removal = self.runner.run(step["with"])
        assert (install.code, removal.code) == (0, 0), (install, removal)
        return test.code, test.output


@pytest.fixture
def github(clone: Path, tmp_path: Path, python: Path) -> GitHub:
    return GitHub(clone, tmp_path, python)


def test_github_actions(clone: Path, github: GitHub) -> None:
    code, said = github.run()
    assert code == 0, said
    assert "4 passed" in said
    assert "::group::moorage up" in said
    assert "| tests.xml | 4 | 0 | 0 |" in github.runner.summary.read_text()
    assert {"hub.db", "ports.env", "ports.json", "summary.md", "timeline.json"} <= names(clone / "artifacts")


@pytest.mark.exhaustive
def test_github_actions_with_a_failing_test(clone: Path, github: GitHub) -> None:
    (clone / "test_red.py").write_text("def test_red(moorage_stack): assert 'a' == 'b'\n")
    code, said = github.run()
    assert code == 1, said
    assert "moorage: log of postgres" in said
    assert "`test_red.test_red`" in github.runner.summary.read_text()
    assert {"postgres-1.log", "redis-1.log"} <= names(clone / "artifacts" / "logs")


@pytest.mark.exhaustive
def test_github_actions_with_a_broken_service(clone: Path, github: GitHub) -> None:
    text = (clone / "compose.yaml").read_text()
    (clone / "compose.yaml").write_text(
        text.replace("user: redis", "user: redis\n    command: redis-server --no-such x")
    )
    code, said = github.run()
    assert code == 5, said
    for told in (said, github.runner.summary.read_text()):
        assert "no-such" in told
    line = next(n for n, text in enumerate((clone / "compose.yaml").read_text().splitlines(), 1) if text == "  redis:")
    assert f"::error file=compose.yaml,line={line}," in said


def test_gitlab(clone: Path, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "examples" / "gitlab-ci.yml").read_text())["test"]
    # The environment of the tests stands in for the runner's: its packages are there already.
    (clone / ".venv-ci").symlink_to(sys.prefix)
    steps = [*job["before_script"][1:], *job["script"]]
    done = run_steps(clone, steps, {"GITLAB_CI": "true", **job["variables"]})
    assert [code for code, _ in done] == [0, 0], done[-1][1]
    assert "section_start:" in done[-1][1]
    assert "4 passed" in done[-1][1]
    assert list((clone / "reports").glob("*.xml"))
    assert json.loads((clone / "artifacts" / "result.json").read_text())["exit_code"] == 0


@pytest.mark.exhaustive
def test_pytest_example_without_ci_on_two_workers(clone: Path) -> None:
    done = run_steps(clone, ["python -P -m pytest -q -n 2"], {})
    assert done[-1][0] == 0, done[-1][1]
    assert "4 passed" in done[-1][1]


# --- the examples in docs/ci.md ------------------------------------------------------------------------------

SHOP = """
    services:
      db:
        image: {image}
        init: true
        command: [sh, -c, "cat /proc/uptime > /data/began; exec httpd -f -p 5432"]
        ports: ["5432"]
        volumes: ["data:/data"]
        x-moorage: {{ready: {{tcp: 5432}}}}
      backend:
        image: {image}
        init: true
        command:
          - sh
          - -c
          - |
            httpd -p 8000
            while :; do
              now=$$(cat /data/began)
              [ "$${{before:-$$now}}" = "$$now" ] || echo reconnected
              before=$$now
              sleep 0.1
            done
        ports: ["8000"]
        volumes: ["data:/data"]
        depends_on: [db]
    volumes: {{data: {{}}}}
"""


@pytest.fixture
def shop(project: Project, tiny_image: str, moorage_home: Path, machine_state: MachineState) -> Project:
    """A backend that connects to its database again."""
    return project.compose(SHOP.format(image=tiny_image))


@pytest.mark.exhaustive
def test_the_first_and_the_last_line(shop: Project) -> None:
    shop.write("test_it.py", "import os\ndef test(): assert os.environ['MOORAGE_PORT_BACKEND_8000']\n")
    first, last = block_with("docs/ci.md", "sh", "moorage ci"), block_with("docs/ci.md", "yaml", "moorage ci")
    (step,) = yaml.safe_load(last)
    done = run_steps(shop.path, [first, step["run"]], {})
    assert [code for code, _ in done] == [0, 0], done[-1][1]
    assert "summary.md" in names(shop.path / "artifacts")


@pytest.mark.exhaustive
def test_the_fault_test(shop: Project) -> None:
    text = block_with("docs/ci.md", "python", "reconnected")
    # What the example leaves out: its backend takes a moment, too.
    wait = """
    import time
    deadline = time.monotonic() + 240
    while "reconnected" not in moorage_stack.logs("backend") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert"""
    text = text.replace("\n    assert", wait, 1) + "    assert url.startswith('http://127.0.0.1:')\n"
    shop.write("test_it.py", text)
    done = run_steps(shop.path, ["python -P -m pytest -q -p no:cacheprovider"], {})
    assert done[-1][0] == 0, done[-1][1]


def test_a_stack_without_a_file(shop: Project, tiny_image: str, docker_client: docker.DockerClient) -> None:
    text = block_with("docs/ci.md", "python", "Stack(")
    redis = dict(line.split("=", 1) for line in _base_images())["REDIS_IMAGE"]
    image = f"{shop.name}-shop"
    dockerfile = f"FROM {tiny_image}\nCMD httpd -f -p 8000\n".encode()
    docker_client.images.build(fileobj=io.BytesIO(dockerfile), tag=image, rm=True)
    here = text.replace('image="redis:7"', f'image="{redis}"').replace('image="shop"', f'image="{image}"')
    shop.write("stack.py", here.replace("shop = Stack(", f'shop = Stack(name="{shop.name}",'))
    ((code, said),) = run_steps(shop.path, ["python stack.py"], {})
    assert code == 0, said
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", said)
    docker_client.images.remove(image, force=True)


def _base_images() -> list[str]:
    script = ROOT / "scripts" / "base-images"
    return subprocess.run([script, "env"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_what_is_compared_with_can_be_read() -> None:
    for block in blocks("docs/ci.md", "yaml"):
        assert all("run" in step for step in yaml.safe_load(block))
    for block in blocks("docs/ci.md", "python"):
        ast.parse(block)
