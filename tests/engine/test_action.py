"""`action.yml`: its steps, carried out as GitHub's runner does."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.action import SHELL, Ran, Runner, kill
from tests.conftest import ROOT

if TYPE_CHECKING:
    import docker
    import psutil

    from tests.conftest import MachineState

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

WEB = "services: {{web: {{image: '{image}', command: httpd -f -p 80, init: true, ports: ['80'], x-moorage: {{ready: {ready}}}}}}}"
MARK = "moorage-action-was-injected"
HOSTILE = (
    f'x"; touch {MARK}; echo "',
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"'; touch {MARK}; '",
    f"; touch {MARK} #",
)


@pytest.fixture
def job(
    tmp_path: Path, tiny_image: str, stack_prefix: str, machine_state: MachineState, moorage_home: Path, python: Path
) -> Runner:
    """A workspace with a stack in `services/shop`; pip asks no index. At the end the machine is as it was."""
    shop = tmp_path / "work space" / "services" / stack_prefix
    shop.mkdir(parents=True)
    (shop / "compose.yaml").write_text(WEB.format(image=tiny_image, ready="{tcp: 80}"))
    (temp := tmp_path / "temp").mkdir()
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "COMPOSE_PROJECT_NAME": stack_prefix}
    return Runner(tmp_path / "work space", temp, offline)


def inputs(job: Runner, python: Path, command: str, **more: str) -> dict[str, str]:
    (shop,) = (job.workspace / "services").iterdir()
    return {"command": command, "stack": f"services/{shop.name}", "python": str(python), **more}


def codes(ran: list[Ran]) -> list[int | None]:
    return [one.code for one in ran]


def containers(client: docker.DockerClient, prefix: str) -> list[str]:
    return [one.name for one in client.containers.list(all=True, ignore_removed=True) if one.name.startswith(prefix)]


def test_a_command_against_a_stack(job: Runner, python: Path) -> None:
    """It has the addresses, it is in the stack's directory, and the tests it writes are in the summary."""
    tests = '<testsuite name="t"><testcase name="a"/><testcase name="b"/></testsuite>'
    command = (
        "[[ $MOORAGE_URL_WEB_80 == http://127.0.0.1:* ]]\n"
        "test -f compose.yaml && test -z \"$(env | grep '^ACTION_')\"\n"
        f"echo {shlex.quote(tests)} >\"$MOORAGE_JUNIT_DIR/t.xml\"; false | true || echo 'as in any step'"
    )
    ran = job.run(inputs(job, python, command, junit="reports", artifacts="kept here", timeout="250"))
    assert codes(ran) == [0, 0, 0], ran
    assert "::group::moorage up" in ran[1].output
    assert "as in any step" in ran[1].output
    assert "| t.xml | 2 | 0 | 0 |" in job.summary.read_text()
    assert json.loads((job.workspace / "kept here" / "result.json").read_text())["exit_code"] == 0
    assert job.outputs["artifacts"] == str(job.workspace / "kept here")
    assert job.outputs["moorage"] == str(python.with_name("moorage"))
    assert job.path == [str(python.parent)], "later steps find the program"
    where = subprocess.run(
        [python, "-P", "-c", "import moorage; print(moorage.__file__)"], capture_output=True, text=True, cwd="/"
    ).stdout
    assert Path(where.strip()).is_relative_to(python.parents[1]), "the action's own version was installed"


def test_a_failing_command_fails_the_step(job: Runner, python: Path) -> None:
    ran = job.run(inputs(job, python, "exit 7"))
    assert codes(ran) == [0, 7, 0], ran


def test_a_stack_that_does_not_come_up(job: Runner, python: Path, tiny_image: str) -> None:
    (shop,) = (job.workspace / "services").iterdir()
    (shop / "other.yaml").write_text(WEB.format(image=tiny_image, ready="{exec: [cat, /no-such], timeout: 5s}"))
    ran = job.run(inputs(job, python, "echo it ran", files="other.yaml"))
    assert codes(ran) == [0, 5, 0], ran
    assert f"::error file=services/{shop.name}/" in ran[1].output
    assert "no-such" in job.summary.read_text()
    assert "it ran" not in ran[1].output


@dataclass
class Recorded:
    """A runner whose Moorage only writes down how it was called: what is tested is what the shell makes of inputs."""

    job: Runner
    place: Path

    def calls(self, **given: str) -> tuple[list[Ran], list[list[str]]]:
        """Runs the steps; gives what they came to, and directory and arguments of each call of the program."""
        for old in self.place.glob("call-*"):
            old.unlink()
        ran = Runner(self.job.workspace, self.job.temp, {}).run({"python": str(self.place / "python"), **given})
        assert not list(self.job.workspace.parent.rglob(MARK)), (given, ran)
        written = sorted(self.place.glob("call-*"), key=lambda one: one.stat().st_mtime_ns)
        return ran, [one.read_text().split("\0")[:-1] for one in written]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    for name in ("place", "space", "temp"):
        (tmp_path / name).mkdir()
    place = tmp_path / "place"
    python = f"case $* in *sysconfig*) echo {place} ;; esac"
    program = f'printf "%s\\0" "$PWD" "$@" >"$(mktemp {place}/call-XXXXXX)"'
    for name, text in {"python": python, "moorage": program}.items():
        (place / name).write_text(f"#!/bin/bash\n{text}\n")
        (place / name).chmod(0o755)
    return Recorded(Runner(tmp_path / "space", tmp_path / "temp", {}), place)


@pytest.mark.parametrize("text", HOSTILE)
def test_inputs_are_no_shell(recorded: Recorded, text: str) -> None:
    """Whatever stands in an input, as it may come from the title of a pull request: it arrives, and is not run."""
    space = recorded.job.workspace
    (space / text).mkdir()
    given = {"stack": text, "artifacts": f"a/{text}", "junit": text, "timeout": text, "files": f"{text}\n\nb.yaml\n"}
    ran, (ci, ls) = recorded.calls(command=text, **given)
    assert codes(ran) == [0, 0, 0]
    assert ci[:2] == [str(space / text), "ci"]
    assert ci[2:7] == [
        f"--artifacts={space}/a/{text}", f"--file={text}", "--file=b.yaml", f"--junit={space}/{text}", f"--timeout={text}",
    ]  # fmt: skip
    assert ci[7:] == ["--", *SHELL, "-c", text], "the command is for the shell to read, but none of ours does"
    assert ls[1:] == ["ls"]
    for key, why in {"version": "version is a version", "python": "There is no"}.items():
        ran, calls = recorded.calls(command="true", **{key: text})
        assert (codes(ran), calls) == ([1, None, None], [])
        assert why in ran[0].output


@pytest.mark.parametrize("key", ["artifacts", "python"])
def test_an_input_writes_no_other_output(recorded: Recorded, key: str) -> None:
    ran, calls = recorded.calls(command="true", **{key: f"x\nmoorage={recorded.place}/{MARK}"})
    assert (codes(ran), calls) == ([1, None, None], [])
    assert f"{key} is one line" in ran[0].output


def test_an_input_of_the_runner_s_own_path(recorded: Recorded) -> None:
    _, (ci, _) = recorded.calls(command="true", artifacts="/some/where", junit="/else")
    assert {"--artifacts=/some/where", "--junit=/else"} < set(ci)


def test_a_cancelled_job_leaves_nothing(
    job: Runner, python: Path, docker_client: docker.DockerClient, stack_prefix: str
) -> None:
    """The runner signals the step's own process, and nothing else."""

    def cancel(process: psutil.Process) -> None:
        wait_for(job.workspace / "started", process)
        process.send_signal(signal.SIGINT)

    command = 'touch "$GITHUB_WORKSPACE/started"; sleep 1000'
    ran = job.run(inputs(job, python, command), cancel)
    assert ran[0].code == 0
    assert ran[1].code not in {0, None}
    assert ran[2].code == 0, "it is for `always()`"
    assert containers(docker_client, stack_prefix) == []


def test_what_a_killed_run_has_left_is_removed(
    job: Runner, python: Path, docker_client: docker.DockerClient, stack_prefix: str
) -> None:
    left: list[str] = []

    def cancel(process: psutil.Process) -> None:
        wait_for(job.workspace / "started", process)
        left.extend(containers(docker_client, stack_prefix))
        kill(process)

    command = 'touch "$GITHUB_WORKSPACE/started"; sleep 1000'
    ran = job.run(inputs(job, python, command), cancel)
    assert left, "there was a stack"
    assert codes(ran) == [0, -signal.SIGKILL, 0]
    assert containers(docker_client, stack_prefix) == []


def wait_for(file: Path, process: psutil.Process) -> None:
    """Until the command has begun; a step that ends before is a failure."""
    deadline = time.monotonic() + 250
    while not file.exists() and time.monotonic() < deadline:
        assert process.is_running()
        time.sleep(0.1)
    assert file.exists()


def test_a_version_comes_from_the_index(job: Runner, python: Path, tmp_path: Path) -> None:
    """Where it is, it is taken; where it is not, the step says so, and nothing else is run."""
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    version = next(wheels.glob("*.whl")).name.split("-")[1]
    job.env["PIP_FIND_LINKS"] = str(wheels)
    missing = Runner(job.workspace, job.temp, job.env).run(inputs(job, python, "true", version="77.7"))
    assert codes(missing) == [1, None, None]
    assert "::error title=Moorage::pip could not install Moorage" in missing[0].output
    assert codes(job.run(inputs(job, python, "true", version=version))) == [0, 0, 0]


def test_a_python_that_is_too_old_is_named(job: Runner, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ran = job.run(inputs(job, old, "true"))
    assert codes(ran) == [1, None, None]
    assert "Moorage needs Python 3.11 or later" in ran[0].output
    ran = Runner(job.workspace, job.temp, job.env).run(inputs(job, Path("no-such-python"), "true"))
    assert "There is no no-such-python here" in ran[0].output


def test_its_scripts_are_clean(tmp_path: Path) -> None:
    """By shellcheck; and no input stands in a script, nor does the action take others' code."""
    for number, step in enumerate(yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]):
        assert "${{" not in step["run"]
        assert "uses" not in step
        (script := tmp_path / f"{number}.sh").write_text("#!/usr/bin/env bash\nset -eo pipefail\n" + step["run"])
        checked = subprocess.run(
            [Path(sys.executable).with_name("shellcheck"), script], capture_output=True, text=True, env={**os.environ}
        )
        assert checked.returncode == 0, checked.stdout
