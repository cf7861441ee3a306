"""The house's rules, checked on the house, and each rule checked on a made-up offender."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys

import pytest

from tests.architecture import house
from tests.architecture.house import ROOT, Source

OURS = ("moorage", "flows", "tasks", "blocks")
LIGHT = {"moorage", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
IMPORT_MAY_COST_S = 0.060


@pytest.mark.parametrize(
    "rule",
    [
        house.wrong_package,
        house.wrong_room,
        house.wrong_subroom,
        house.foreign,
        house.impure,
        house.badly_named,
        house.too_long,
        house.uses_a_shell,
        house.hands_on_keys,
        house.loses_cancels,
        house.reads_without_end,
        house.blocks_the_loop,
    ],
    ids=lambda rule: rule.__name__,
)
def test_house(rule):
    """CONTRIBUTING.md says why."""
    assert [complaint for source in house.sources(*OURS) for complaint in rule(source)] == []


@pytest.mark.parametrize(
    "rule", [house.too_long, house.uses_a_shell, house.looks_at_each], ids=lambda rule: rule.__name__
)
def test_tests_and_examples(rule):
    assert [complaint for source in house.sources("tests", "examples", "scripts") for complaint in rule(source)] == []


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (house.reads_without_end, "moorage/work/queries/a.py", "text = path.read_text()"),
        (house.reads_without_end, "moorage/adapters/a.py", "text = answer.read()"),
        (house.reads_without_end, "moorage/adapters/a.py", "text = self.response.content"),
        (house.reads_without_end, "moorage/adapters/a.py", "done = subprocess.run(['git'], env={}, timeout=5)"),
        (house.reads_without_end, "moorage/adapters/a.py", "out, err = process.communicate()"),
        (house.reads_without_end, "moorage/cli/a.py", "with path.open('rb') as file: pass"),
        (house.reads_without_end, "moorage/cli/a.py", "found = json.load(file)"),
        (house.reads_without_end, "moorage/work/a.py", "tar = tarfile.open(fileobj=file)"),
        (house.reads_without_end, "moorage/work/a.py", "found = re.search(service.pattern, text)"),
        (house.wrong_package, "moorage/hub/run.py", "def f():\n    import flows.up"),
        (house.wrong_package, "blocks/stack.py", "from tasks.images import build"),
        (house.wrong_package, "tasks/images.py", "from flows import up"),
        (house.wrong_package, "moorage/work/runs/run.py", "from . import undo"),
        (house.wrong_room, "moorage/model/step.py", "from moorage.rules.graph import order"),
        (house.wrong_room, "moorage/rules/graph.py", "from moorage.work import run"),
        (house.wrong_room, "moorage/rules/graph.py", "from moorage import work"),
        (house.wrong_room, "moorage/rules/graph.py", "from moorage.settings import settings"),
        (house.wrong_room, "moorage/work/runs/run.py", "from moorage.adapters.git import branch"),
        (house.wrong_room, "moorage/work/runs/run.py", "def f():\n    import moorage.world"),
        (house.wrong_room, "moorage/adapters/git.py", "from moorage.world import world"),
        (house.wrong_room, "moorage/show/table.py", "from moorage.rules.graph import order"),
        (house.wrong_room, "moorage/errors.py", "from moorage.model.step import Step"),
        (house.wrong_room, "moorage/hub/run.py", "from moorage.cli import main"),
        (house.wrong_room, "moorage/toolbox.py", ""),
        (house.wrong_room, "moorage/work/runs/run.py", "from moorage import Stack"),
        (house.wrong_subroom, "moorage/work/queries/status.py", "from moorage.work.runs import wait"),
        (house.wrong_subroom, "moorage/work/runs/run.py", "def f():\n    from moorage.work.operations.up import up"),
        (house.wrong_subroom, "moorage/work/toolbox.py", ""),
        (
            house.wrong_subroom,
            "moorage/adapters/locks/stack.py",
            "from moorage.adapters.engine.client import DockerEngine",
        ),
        (house.foreign, "moorage/work/runs/run.py", "def f():\n    import prefect"),
        (house.foreign, "moorage/hub/api.py", "from prefect import flow"),
        (house.foreign, "moorage/adapters/compose/cli.py", "import docker"),
        (house.foreign, "flows/up.py", "from docker import DockerClient"),
        (house.foreign, "moorage/work/runs/run.py", "import dagger"),
        (house.foreign, "moorage/work/runs/run.py", "import cyclopts"),
        (house.foreign, "moorage/adapters/registry/file.py", "import fcntl"),
        (house.foreign, "moorage/hub/process.py", "import psutil"),
        (house.impure, "moorage/rules/ports.py", "import os"),
        (house.impure, "moorage/rules/ports.py", "from socket import socket"),
        (house.impure, "moorage/rules/ports.py", "from urllib.request import urlopen"),
        (house.impure, "moorage/model/event.py", "from datetime import datetime, UTC\nx = datetime.now(UTC)"),
        (house.impure, "moorage/rules/naming.py", "from pathlib import Path\nPath('x').exists()"),
        (house.impure, "moorage/rules/naming.py", "open('x')"),
        (house.badly_named, "flows/prefect.py", ""),
        (house.badly_named, "tasks/logging.py", ""),
        (house.badly_named, "moorage/work/utils.py", ""),
        (house.too_long, "moorage/work/runs/run.py", "def f():\n" + "    x = 1\n" * 60),
        (house.uses_a_shell, "moorage/work/runs/run.py", "import subprocess\nsubprocess.run('ls', shell=True)"),
        (house.uses_a_shell, "moorage/work/runs/run.py", "import os\nos.system('ls')"),
        (house.uses_a_shell, "moorage/work/runs/run.py", "import asyncio\nasyncio.create_subprocess_shell('ls')"),
        (house.looks_at_each, "tests/engine/test_up.py", "client.containers.list(all=True)"),
        (house.looks_at_each, "tests/engine/test_up.py", "engine.client.images.list()"),
        (house.hands_on_keys, "moorage/hub/worker.py", "subprocess.run(['ls'])"),
        (house.loses_cancels, "moorage/work/threads.py", "await asyncio.wait_for(one, 1)"),
        (house.hands_on_keys, "moorage/adapters/git.py", "subprocess.Popen(['ls'], env={**os.environ})"),
        (house.hands_on_keys, "moorage/adapters/git.py", "own = os.environ.items()"),
        (house.blocks_the_loop, "flows/up.py", "async def f(world):\n    world.store.stacks()"),
        (house.blocks_the_loop, "moorage/work/runs/run.py", "async def f(run):\n    return [run.world.engine.ping()]"),
        (house.blocks_the_loop, "tasks/steps.py", "async def f(path):\n    if path.exists():\n        pass"),
    ],
)
def test_rule_bites(rule, path, text):
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (house.wrong_package, "flows/up.py", "import tasks.images, blocks, moorage.errors"),
        (
            house.wrong_room,
            "moorage/rules/graph.py",
            "from moorage.errors import DefinitionError\nimport moorage.model",
        ),
        (house.wrong_room, "moorage/cli/up.py", "from moorage import __version__"),
        (house.wrong_subroom, "moorage/work/runs/run.py", "from moorage.work.queries.ports import taken"),
        (house.foreign, "moorage/hub/api.py", "def f():\n    import prefect"),
        (house.impure, "moorage/rules/naming.py", "from pathlib import PurePath\nfrom urllib.parse import quote"),
        (house.impure, "moorage/work/runs/run.py", "import os"),
        (house.too_long, "moorage/work/runs/run.py", 'def f():\n    """' + "x\n" * 60 + '"""\n' + "    x = 1\n" * 60),
        (house.uses_a_shell, "moorage/work/runs/run.py", "import subprocess\nsubprocess.run(['ls'], shell=False)"),
        (house.looks_at_each, "tests/engine/test_up.py", "client.containers.list(all=True, ignore_removed=True)"),
        (house.looks_at_each, "tests/engine/test_up.py", "client.api.images()"),
        (house.hands_on_keys, "moorage/adapters/git.py", "subprocess.run([], env=for_programs(os.environ))"),
        (house.hands_on_keys, "moorage/adapters/git.py", "os.environ.get('X'), os.environ['X']"),
        (house.blocks_the_loop, "flows/up.py", "async def f(w):\n    await in_thread(lambda: w.store.stacks())"),
        (house.blocks_the_loop, "moorage/cli/up.py", "async def f(world):\n    world.store.stacks()"),
        (house.blocks_the_loop, "flows/up.py", "def f(world):\n    world.store.stacks()"),
    ],
)
def test_rule_lets_pass(rule, path, text):
    assert list(rule(Source(path, text))) == []


def _imports_in_strings(source):
    """(line, module, name) of what programs in strings import from us: no linter looks there."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, names in re.findall(r"(?m)^\s*from (moorage(?:\.\w+)*) import ([\w, ]+?)\s*$", node.value):
                for name in names.split(","):
                    yield node.lineno, module, name.split()[0]


def _offers(module, name):
    folder = ROOT.joinpath(*module.split("."))
    places = [folder.with_suffix(".py"), folder / "__init__.py"]
    texts = [place.read_text() for place in places if place.is_file()]
    return any(place.exists() for place in (folder / f"{name}.py", folder / name)) or any(
        re.search(rf"\b{name}\b", text) for text in texts
    )


def test_programs_in_strings_import_what_there_is():
    """A module is renamed, and a test's child process dies of the old name instead of what the test is about."""
    programs = [one for one in house.sources("tests", "scripts") if not one.path.startswith("tests/architecture")]
    found = [(one, *what) for one in programs for what in _imports_in_strings(one)]
    assert len(found) > 10
    assert [one.says(line, f"{module}.{name}") for one, line, module, name in found if not _offers(module, name)] == []


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_import_loads_nothing_heavy():
    """`moorage --help` and every reading verb begin with `import moorage`."""
    loaded = "import json, sys; {}; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    before, after = (set(json.loads(_python(loaded.format(what)))) for what in ("pass", "import moorage"))
    assert after - before - set(sys.stdlib_module_names) <= LIGHT


def test_import_is_quick():
    """In processor time: the machine may be busy with other tests."""
    timed = "import time; start = time.process_time(); import moorage; print(time.process_time() - start)"
    assert statistics.median(float(_python(timed)) for _ in range(5)) <= IMPORT_MAY_COST_S
