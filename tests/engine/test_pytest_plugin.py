"""The pytest plugin, in a pytest of its own: scopes, faults, reports, workers of pytest-xdist."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import MachineState, Project

COMPOSE = """
    services:
      web:
        image: {image}
        init: true
        command: ["sh", "-c", "echo web says hello; hostname > /tmp/ping; httpd -f -p 8000 -h /tmp"]
        ports: ["8000"]
      db:
        image: {image}
        init: true
        command: sleep 3600
        x-moorage: {{ready: {{exec: "true"}}}}
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(project: Project, tiny_image: str, moorage_home: Path, machine_state: MachineState) -> Run:
    """Write a test file and run pytest on it in the project."""
    project.compose(COMPOSE.format(image=tiny_image))

    def pytest_run(
        text: str, *args: str, code: int = 0, config: str = "", **options: str
    ) -> subprocess.CompletedProcess[str]:
        (project.path / "pytest.ini").write_text(f"[pytest]\n{dedent(config)}")
        (project.path / "test_it.py").write_text(dedent(text))
        command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-q", *args]
        done = subprocess.run(
            command, cwd=project.path, env=_environment() | options, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return pytest_run


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}


def test_what_a_stack_can_do(run: Run, machine_state: MachineState) -> None:
    run("""
        import urllib.request, pytest, moorage
        from moorage.errors import DefinitionError

        def ping(stack):
            with urllib.request.urlopen(stack.url("web", 8000) + "/ping", timeout=60) as answer:
                return answer.read().decode().strip()

        def test_it(moorage_stack):
            stack = moorage_stack
            assert isinstance(stack, moorage.RunningStack)
            before = ping(stack)
            assert stack.port("web") == stack.port("web", 8000)
            assert stack.environment()["MOORAGE_URL_WEB_8000"] == stack.url("web")
            assert stack.exec("web", "hostname").output.strip() == before
            assert stack.exec("web", ["sh", "-c", "exit 3"]).exit_code == 3
            assert stack.exec("web", "sh", "-c", "exit 4").exit_code == 4
            assert "web says hello" in stack.logs("web")
            stack.kill("web")
            with pytest.raises(OSError):
                ping(stack)
            assert stack.status().state == "degraded"
            stack.restart("web")
            assert ping(stack) == before
            with pytest.raises(DefinitionError, match="wep"):
                stack.url("wep")
            with pytest.raises(DefinitionError, match="publish"):
                stack.url("db", 5432)
    """)
    machine_state.assert_same()


NAMES = """
    import pathlib, pytest
    def note(stack): pathlib.Path("names").open("a").write(stack.name + "\\n")
    def test_a(moorage_stack): note(moorage_stack)
    def test_b(moorage_stack): note(moorage_stack)
"""


@pytest.mark.parametrize(
    ("config", "extra", "stacks"),
    [
        pytest.param("", "", 1, marks=pytest.mark.exhaustive),
        pytest.param("moorage_scope = function", "", 2, marks=pytest.mark.exhaustive),
        ("", "@pytest.mark.moorage(scope='function')\n    def test_c(moorage_stack): note(moorage_stack)", 2),
        pytest.param("", "pytestmark = pytest.mark.moorage(scope='function')", 2, marks=pytest.mark.exhaustive),
    ],
)
def test_scopes(run: Run, project: Project, config: str, extra: str, stacks: int) -> None:
    run(NAMES + f"    {extra}\n", config=config)
    assert len(set((project.path / "names").read_text().split())) == stacks


def test_an_unknown_scope_is_a_usage_error(run: Run) -> None:
    assert "galaxy" in run("def test(): pass", config="moorage_scope = galaxy", code=4).stderr


def test_logs_are_in_the_report_of_a_failed_test(run: Run) -> None:
    done = run("""
        def test_good(moorage_stack): pass
        def test_bad(moorage_stack): assert False
    """, code=1)  # fmt: skip
    assert done.stdout.count("web says hello") == 1
    assert re.search(r"moorage: log of web \(.*-test-[0-9a-f]{6}\)", done.stdout)


def test_a_stack_that_does_not_come_up(run: Run, project: Project, tiny_image: str) -> None:
    project.compose(f"services: {{db: {{image: '{tiny_image}', command: [sh, -c, 'echo no disk; exit 9']}}}}")
    done = run("def test(moorage_stack): pass", code=1)
    assert "no disk" in done.stdout
    assert "ended with exit code 9" in done.stdout


def test_async_tests(run: Run) -> None:
    run("""
        import asyncio, pytest
        @pytest.mark.asyncio
        async def test(moorage_stack):
            reader, writer = await asyncio.open_connection("127.0.0.1", moorage_stack.port("web"))
            writer.close()
            moorage_stack.kill("web")
            moorage_stack.start("web")
            assert moorage_stack.status().state == "running"
    """)


def test_keep(run: Run, project: Project, machine_state: MachineState) -> None:
    done = run(NAMES, "--moorage-keep")
    name = (project.path / "names").read_text().split()[0]
    assert f"moorage down --name {name}" in done.stdout
    assert [stack["name"] for stack in project.moorage("ls", "--json").json] == [name]
    project.moorage("down", "--name", name, "--volumes", "--release-ports")


def test_reuse(run: Run, project: Project) -> None:
    for _ in range(2):
        run(NAMES, "--moorage-reuse")
    assert set((project.path / "names").read_text().split()) == {project.name}
    assert project.moorage("status", "--json").json["state"] == "running"
    project.moorage("down", "--volumes", "--release-ports")


WORKERS = """
    import json, os, pathlib, pytest
    @pytest.mark.parametrize("n", range(6))
    def test(moorage_stack, n):
        worker = os.environ["PYTEST_XDIST_WORKER"]
        said = moorage_stack.exec("web", "hostname").output.strip()
        facts = [worker, moorage_stack.name, moorage_stack.port("web"), said]
        pathlib.Path(f"{worker}-{n}.json").write_text(json.dumps(facts))
"""


def _facts(project: Project) -> list[list[object]]:
    return [json.loads(file.read_text()) for file in sorted(project.path.glob("gw*.json"))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [3, pytest.param(6, marks=pytest.mark.exhaustive)])
def test_workers_with_stacks_of_their_own(
    run: Run, project: Project, machine_state: MachineState, workers: int
) -> None:
    run(WORKERS, "-n", str(workers), "--dist", "each")
    facts = _facts(project)
    assert len(facts) == workers * 6
    for column in (0, 1, 2, 3):
        assert len({fact[column] for fact in facts}) == workers, "no two workers share a name, a port, a container"
    machine_state.assert_same()
    assert project.moorage("ports", "--all", "--json").json == []


@pytest.mark.exhaustive
def test_workers_that_share_one_stack(run: Run, project: Project, machine_state: MachineState) -> None:
    run(WORKERS, "-n", "3", "--dist", "each", config="moorage_shared = true")
    facts = _facts(project)
    assert len(facts) == 18
    assert len({fact[0] for fact in facts}) == 3
    assert len({tuple(fact[1:]) for fact in facts}) == 1
    machine_state.assert_same()
    assert project.moorage("ls", "--json").json == []


def test_after_kill_9_the_next_call_cleans_up(run: Run, project: Project, machine_state: MachineState) -> None:
    run("""
        import os, signal
        def test(moorage_stack): os.kill(os.getpid(), signal.SIGKILL)
    """, code=-signal.SIGKILL)  # fmt: skip
    assert machine_state.now()["containers"]
    assert project.moorage("ls", "--json").json == []
    machine_state.assert_same()


def test_a_stack_from_code(run: Run, project: Project, tiny_image: str) -> None:
    (project.path / "compose.yaml").unlink()
    run(f"""
        import pytest
        from moorage import HealthCheck, Service, Stack

        @pytest.fixture(scope="session")
        def moorage_definition():
            return Stack(name="{project.name}", services={{
                "web": Service(
                    image="{tiny_image}", init=True, ports=[8000],
                    command=["sh", "-c", "echo \\"price: $PRICE\\"; exec httpd -f -p 8000 -h /data"],
                    environment={{"PRICE": "5 $"}}, volumes=["pages:/data"],
                    healthcheck=HealthCheck(test=["CMD", "test", "-d", "/data"], interval="30s"),
                ),
                "late": Service(image="{tiny_image}", command="sleep 3600", init=True, depends_on=["web"],
                                ready={{"exec": "true"}}, extra={{"hostname": "late"}}),
            }})

        def test(moorage_stack):
            assert "price: 5 $" in moorage_stack.logs("web")
            assert moorage_stack.exec("late", "hostname").output.strip() == "late"
            assert moorage_stack.url("web").startswith("http://127.0.0.1:")
    """)


def test_import_of_the_plugin_is_light() -> None:
    code = "import sys, moorage.pytest_plugin; print([m for m in sys.modules if m.startswith('moorage.') or m == 'pydantic'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['moorage.pytest_plugin']"
