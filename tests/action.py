"""A runner for `action.yml`: carries out the steps of a composite action as GitHub's own runner does.

As far as they are used: `run` steps of bash with `if`, `env` and `working-directory`, the files of commands, and
expressions. What else an action may have is refused here, so that nobody takes it for tested.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import ROOT

SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
_STEP_KEYS = {"name", "id", "if", "shell", "env", "working-directory", "run"}
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<sign>==|!=|&&|\|\||[!()])|(?P<name>[A-Za-z_][\w.-]*(?:\(\))?))"
)
_PATIENCE_S = 250


@dataclass
class Ran:
    """A step, and what it came to. `code` None: it was skipped."""

    name: str
    code: int | None
    output: str = ""


@dataclass
class Runner:
    """One job: a workspace, and what the steps hand on to one another."""

    workspace: Path
    temp: Path
    env: dict[str, str]
    """What a step finds in its environment besides the step's own."""
    action: Path = ROOT
    path: list[str] = field(default_factory=list)
    failed: bool = False
    cancelled: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    """Of the action, after `run`."""

    @property
    def summary(self) -> Path:
        """The job summary."""
        return self.temp / "summary.md"

    def run(self, given: Mapping[str, str], cancel: Callable[[psutil.Process], None] | None = None) -> list[Ran]:
        """All steps of the action. `cancel`: called with the process of the step that runs the command."""
        action = yaml.safe_load((self.action / "action.yml").read_text())
        declared: dict[str, dict[str, Any]] = action["inputs"]
        assert set(given) <= set(declared), "an input that the action does not have"
        assert action["runs"]["using"] == "composite"
        known = {f"inputs.{name}": given.get(name, one.get("default", "")) for name, one in declared.items()}
        ran = []
        for number, step in enumerate(action["runs"]["steps"]):
            assert set(step) <= _STEP_KEYS, f"not carried out here: {set(step) - _STEP_KEYS}"
            ran.append(self._step(step, number, known, cancel if number == 1 else None))
        self.outputs = {name: self._filled(one["value"], known) for name, one in action["outputs"].items()}
        return ran

    def _step(
        self, step: dict[str, Any], number: int, known: dict[str, str], cancel: Callable[[psutil.Process], None] | None
    ) -> Ran:
        condition = str(step.get("if", "success()")).removeprefix("${{").removesuffix("}}")
        if not re.search(r"(always|success|failure|cancelled)\(\)", condition):
            condition = f"success() && ({condition})"
        if not _Expression(condition, self, known).value():
            return Ran(step["name"], None)
        assert step["shell"] == "bash"
        script = self.temp / f"step-{number}.sh"
        script.write_text(self._filled(step["run"], known))
        files = {name: self.temp / f"{name}-{number}" for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT")}
        for file in files.values():
            file.write_text("")
        env = {name: self._filled(str(value), known) for name, value in step.get("env", {}).items()}
        process = subprocess.Popen(
            [*SHELL, str(script)],
            cwd=self.workspace / self._filled(step.get("working-directory", ""), known),
            env={**self._environment(), **{name: str(file) for name, file in files.items()}, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if cancel:
            cancel(psutil.Process(process.pid))
            self.cancelled = True
        output, _ = process.communicate(timeout=_PATIENCE_S)
        self.failed = self.failed or process.returncode != 0
        self.env |= _pairs(files["GITHUB_ENV"])
        self.path = [*reversed(files["GITHUB_PATH"].read_text().splitlines()), *self.path]
        known |= {
            f"steps.{step.get('id')}.outputs.{key}": value for key, value in _pairs(files["GITHUB_OUTPUT"]).items()
        }
        return Ran(step["name"], process.returncode, output)

    def _environment(self) -> dict[str, str]:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "GITHUB_"))}
        path = os.pathsep.join([*self.path, self.env.get("PATH", os.environ["PATH"])])
        ours = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(self.workspace)}
        more = {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(self.action)}
        return {**base, **self.env, **ours, **more, "PATH": path, "GITHUB_STEP_SUMMARY": str(self.summary)}

    def _filled(self, text: str, known: Mapping[str, str]) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(_Expression(found[1], self, known).value()), text)


def kill(process: psutil.Process) -> None:
    """As the runner does to what goes on after it was asked to end: the process, and all that it started."""
    for one in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)


class _Expression:
    """What stands in `${{ }}`: names, texts, `==`, `!=`, `&&`, `||`, `!`, and the functions of a job's state."""

    def __init__(self, text: str, job: Runner, known: Mapping[str, str]) -> None:
        self._tokens, at = [], 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            assert found, f"not carried out here: {text}"
            self._tokens.append(found[0].strip())
            at = found.end()
        self._known = known
        self._states = {
            "always()": True,
            "success()": not job.failed and not job.cancelled,
            "failure()": job.failed and not job.cancelled,
            "cancelled()": job.cancelled,
        }

    def value(self) -> Any:
        found = self._any_of()
        assert not self._tokens, f"not carried out here: {self._tokens}"
        return found

    def _next(self, *signs: str) -> str:
        return self._tokens.pop(0) if self._tokens and (not signs or self._tokens[0] in signs) else ""

    def _any_of(self) -> Any:
        left = self._all_of()
        while self._next("||"):
            right = self._all_of()
            left = left or right
        return left

    def _all_of(self) -> Any:
        left = self._same()
        while self._next("&&"):
            right = self._same()
            left = left and right
        return left

    def _same(self) -> Any:
        left = self._one()
        while sign := self._next("==", "!="):
            right = self._one()
            left = (str(left).casefold() == str(right).casefold()) == (sign == "==")
        return left

    def _one(self) -> Any:
        word = self._next()
        if word == "!":
            return not self._one()
        if word == "(":
            found = self._any_of()
            assert self._next(")")
            return found
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if word.endswith("()"):
            return self._states[word]
        assert word.startswith(("inputs.", "steps.")), f"not carried out here: {word}"
        assert word.startswith("steps.") or word in self._known, f"there is no {word}"
        return self._known.get(word, "")


def _pairs(file: Path) -> dict[str, str]:
    """A file of commands: NAME=VALUE, a line each, or NAME<<END and lines up to END."""
    found, lines = {}, iter(file.read_text().splitlines())
    for line in lines:
        name, sign, end = line.partition("<<")
        if sign and "=" not in name:
            found[name] = "\n".join(iter(lines.__next__, end))
        else:
            name, sign, value = line.partition("=")
            assert sign, f"the runner would refuse {line!r}"
            found[name] = value
    return found
