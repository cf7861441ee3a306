"""The wheel with the newest releases that its bounds allow, as whoever installs it today gets them: not those of the lock.

Resolved anew by each run, so it fails when a release of somebody else breaks us. Needs the package index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from tests.action import Runner
from tests.conftest import ROOT
from tests.counts import COUNTS, NOTES
from tests.packaging.conftest import Installed, decoy_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MachineState

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

UV = Path(sys.executable).with_name("uv")
COMPILED = {"UV_COMPILE_BYTECODE": "1"}
"""As pip leaves it: else the first start of the hub compiles a hundred packages, in three processes at once."""
_LOCKED = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def uv(*arguments: str, **env: str) -> str:
    """Run uv; what it says about a failure is the test's."""
    done = subprocess.run([UV, *arguments], env={**os.environ, **env}, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def tool(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `uv tool install moorage` makes, from the wheel; the directory is a stranger's."""
    place = tmp_path_factory.mktemp("tools")
    env = {"UV_TOOL_DIR": str(place / "tools"), "UV_TOOL_BIN_DIR": str(place / "bin"), **COMPILED}
    uv("tool", "install", "--quiet", "--python", sys.executable, str(wheel), **env)
    decoy = decoy_in(tmp_path_factory.mktemp("stranger"))
    for entry in (ROOT / "examples" / "minimal").iterdir():
        (shutil.copytree if entry.is_dir() else shutil.copy)(entry, decoy / entry.name)
    (decoy / "compose.override.yaml").write_text(
        "services: {redis: {ports: !reset []}, web: {ports: !override [8000]}}\n"
    )
    return Installed(place / "bin", decoy)


def newer(python: Path) -> list[str]:
    """`name: locked version → this one` of the packages of an environment that are not as in the lock."""
    locked = dict(_LOCKED.findall((ROOT / "requirements.lock").read_text()))
    there = json.loads(uv("pip", "list", "--format", "json", "--python", str(python)))
    return [
        f"{one['name']}: {locked[one['name']]} → {one['version']}"
        for one in there
        if one["name"] in locked and Version(one["version"]) > Version(locked[one["name"]])
    ]


def start_hub(run: Callable[..., str]) -> None:
    """The hub is up. A start that has waited long enough leaves the server to go on: the next one finds it."""
    for attempt in range(5):
        try:
            run("moorage", "hub", "start")
        except AssertionError as error:
            if attempt == 4 or "does not answer" not in str(error):
                raise
        else:
            return


def up_and_down(
    run: Callable[..., str], stack: str, images: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    """A stack comes up in a run of its own, changes in one of the hub's worker, and goes; the hub stops."""
    try:
        start_hub(run)
        up = json.loads(run("moorage", "up", "--name", stack, "--json", **images))
        assert (up["state"], bool(up["flow_run_id"])) == ("running", True)
        handed = json.loads(run("moorage", "up", "--name", stack, "--detach", "--force-recreate", "--json", **images))
        run("moorage", "wait", "--timeout", "250", handed["flow_run_id"])
        assert json.loads(run("moorage", "status", "--name", stack, "--json", **images))["state"] == "running"
        assert len(json.loads(run("moorage", "history", "--name", stack, "--runs", "--json"))) == 2
        assert json.loads(run("moorage", "hub", "status", "--json"))["server"]
        run("moorage", "down", "--name", stack, "--volumes", "--release-ports")
        for which in ("server", "worker"):
            log = (Path(os.environ["MOORAGE_HOME"]) / "hub" / f"{which}.log").read_text()
            wrong = [line for line in log.splitlines() if re.search(r"\bERROR\b|Traceback|CRITICAL", line)]
            record_property(COUNTS, {"of": "with the newest releases", "how": {f"errors in {which}.log": len(wrong)}})
            assert not wrong, "\n".join(wrong[:20])
    finally:
        run("moorage", "hub", "stop")


@pytest.fixture
def images(tiny_image: str) -> dict[str, str]:
    """Stand-ins for the images of `examples/minimal`."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line and not line.startswith("#"))


def test_uv_tool_install_and_a_stranger_s_directory(
    tool: Installed,
    images: dict[str, str],
    stack_prefix: str,
    machine_state: MachineState,
    moorage_home: Path,
    record_property: Callable[[str, object], None],
) -> None:
    python = tool.bin.parent / "tools" / "moorage" / "bin" / "python"
    uv("pip", "check", "--python", str(python))
    found = newer(python)
    record_property(COUNTS, {"of": "with the newest releases", "how": {"packages newer than the lock": len(found)}})
    record_property(NOTES, {"of": "with the newest releases", "lines": found})
    try:
        up_and_down(tool.run, stack_prefix, images, record_property)
    except AssertionError as error:
        pytest.fail(f"with {', '.join(found) or 'the versions of the lock'}:\n{error}")


@pytest.mark.exhaustive
def test_uvx_in_a_stranger_s_directory(
    wheel: Path,
    tool: Installed,
    images: dict[str, str],
    stack_prefix: str,
    machine_state: MachineState,
    moorage_home: Path,
) -> None:
    """`uvx moorage up`; the same packages are there already."""
    stranger = Installed(UV.parent, tool.decoy)

    def moorage(*arguments: str, **env: str) -> str:
        return stranger.run(
            "uvx", "--python", sys.executable, "--from", str(wheel), "moorage", *arguments, **COMPILED, **env
        )

    try:
        start_hub(lambda _moorage, *arguments: moorage(*arguments))
        assert json.loads(moorage("up", "--name", stack_prefix, "--json", **images))["state"] == "running"
        assert "running" in moorage("status", "--name", stack_prefix)
        moorage("down", "--name", stack_prefix, "--volumes", "--release-ports")
    finally:
        moorage("hub", "stop")


@pytest.mark.exhaustive
def test_pip_install(
    images: dict[str, str],
    stack_prefix: str,
    machine_state: MachineState,
    moorage_home: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """By the step of the GitHub Action, which makes an environment of its own. The stack has no file but the example's."""
    for folder in ("space", "temp"):
        (tmp_path / folder).mkdir()
    shutil.copytree(ROOT / "examples" / "minimal", tmp_path / "space" / stack_prefix)
    job = Runner(tmp_path / "space", tmp_path / "temp", {**images, "COMPOSE_PROJECT_NAME": stack_prefix})
    ran = job.run(
        {
            "command": "curl -fs $MOORAGE_URL_WEB_8000 || python3 -c 'import os, urllib.request as u; u.urlopen(os.environ[\"MOORAGE_URL_WEB_8000\"])'",
            "stack": stack_prefix,
        }
    )
    assert [one.code for one in ran] == [0, 0, 0], ran
    python = Path(job.outputs["moorage"]).with_name("python")
    subprocess.run([python, "-m", "pip", "check"], check=True, capture_output=True)
    record_property(NOTES, {"of": "with the newest releases", "lines": newer(python)})
