"""The wheel in an environment without this checkout, beside a project that owns `tasks`, `flows` and `blocks`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.packaging.conftest import DECOYS

if TYPE_CHECKING:
    from tests.conftest import MachineState
    from tests.packaging.conftest import Installed

pytestmark = pytest.mark.timeout(600)

IMPORT_MAY_COST_S = 0.060


def test_what_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"moorage"}
    assert "moorage/project/prefect.yaml" in names
    tracked = subprocess.run(
        ["git", "ls-files", "moorage"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert set(tracked.splitlines()) <= set(names), "code and what it reads"
    for folder in DECOYS:
        ours = {f"moorage/project/{file.relative_to(ROOT)}" for file in (ROOT / folder).rglob("*.py")}
        assert ours <= set(names)
    points = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "moorage = moorage.cli:main" in points
    assert "moorage = moorage.pytest_plugin" in points


def test_it_is_the_wheel_that_runs(installed: Installed) -> None:
    place = installed.run("python", "-P", "-c", "import moorage; print(moorage.__file__)").strip()
    assert Path(place).is_relative_to(installed.bin.parent)
    assert installed.run("moorage", "--version").strip()


def test_up_from_the_wheel_beside_a_decoy(
    installed: Installed, tiny_image: str, stack_prefix: str, machine_state: MachineState, moorage_home: Path
) -> None:
    """`up` starts a hub from the wheel's own flows; nothing of the directory is imported."""
    service = f"{{image: '{tiny_image}', command: sleep 3600, init: true, x-moorage: {{ready: {{exec: 'true'}}}}}}"
    (installed.decoy / "compose.yaml").write_text(f"services: {{web: {service}}}\n")
    try:
        found = json.loads(installed.run("moorage", "up", "--name", stack_prefix, "--json"))
        assert found["state"] == "running"
        assert found["flow_run_id"], "it was a flow run"
        installed.run("moorage", "down", "--name", stack_prefix, "--volumes", "--release-ports")
    finally:
        installed.run("moorage", "hub", "stop")


def test_ci_and_plugin_from_the_wheel_beside_a_decoy(
    installed: Installed, tiny_image: str, stack_prefix: str, machine_state: MachineState, moorage_home: Path
) -> None:
    service = f"{{image: '{tiny_image}', command: sleep 3600, init: true, x-moorage: {{ready: {{exec: 'true'}}}}}}"
    (installed.decoy / "compose.yaml").write_text(f"services: {{web: {service}}}\n")
    test = "def test(moorage_stack): assert moorage_stack.exec('web', 'true').exit_code == 0\n"
    (installed.decoy / "test_it.py").write_text(test)
    pytest_ = ["python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    out = installed.run(
        "moorage", "ci", "--name-prefix", stack_prefix, "--", *pytest_, COMPOSE_PROJECT_NAME=stack_prefix, PATH=_path(installed)
    )  # fmt: skip
    assert "1 passed" in out


def _path(installed: Installed) -> str:
    return os.pathsep.join([str(installed.bin), os.environ["PATH"]])


def test_init_writes_the_project(installed: Installed, tmp_path: Path) -> None:
    target = tmp_path / "team"
    written = json.loads(installed.run("moorage", "init", str(target), "--json"))["files"]
    assert {"prefect.yaml", "flows/up.py", "tasks/steps.py", "blocks/__init__.py"} <= set(written)
    for name in written:
        assert (target / name).read_bytes() == (ROOT / name).read_bytes()
    installed.run("moorage", "init", str(target))  # nothing would change
    (target / "flows" / "up.py").write_text("# ours\n")
    installed.run("moorage", "init", str(target), code=1)
    assert (target / "flows" / "up.py").read_text() == "# ours\n"
    installed.run("moorage", "init", str(target), "--force")
    assert (target / "flows" / "up.py").read_bytes() == (ROOT / "flows" / "up.py").read_bytes()
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "main.py").write_text("")
    installed.run("moorage", "init", "--template", "commandcenter", str(tmp_path))
    assert "  backend:\n" in (tmp_path / "compose.yaml").read_text()
    load = "from prefect.flows import load_flow_from_entrypoint as load; print(load('flows/up.py:up').name)"
    code = f"import os; os.chdir({str(target)!r}); {load}"
    assert installed.run("python", "-P", "-c", code).strip() == "up"


def test_import_is_quick(installed: Installed) -> None:
    """At most 60 ms over bare Python, or over pytest, in processor time: the machine may be busy.

    In a process that has loaded the other already: two large times, measured one after the other, differ by more.
    """
    timed = "import time; {}; begin = time.process_time(); {}; print(time.process_time() - begin)"

    def cost(what: str, after: str) -> float:
        return statistics.median(
            float(installed.run("python", "-P", "-c", timed.format(after, what))) for _ in range(5)
        )

    assert cost("import moorage", after="pass") <= IMPORT_MAY_COST_S
    assert cost("import moorage.pytest_plugin", after="import pytest") <= IMPORT_MAY_COST_S
