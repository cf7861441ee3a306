"""Every case of this folder, as a user would have it: the `moorage` command, a project, the real engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases.case import FILE, Act, Case, Step, all_cases
from tests.conftest import run_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MachineState, Project

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_NUMBER = "com.docker.compose.container-number"


class Bench:
    """A project made of a case, and a look at what is on the engine."""

    def __init__(self, case: Case, project: Project, client: Any) -> None:
        shutil.copytree(case.folder, project.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(FILE))
        self._project = project
        self._client = client
        self._env = {"STACK": project.name, **{key: self._text(value) for key, value in case.env.items()}}
        self.said = ""
        self._code = 0
        self._before: dict[str, list[str]] = {}

    def take(self, step: Step) -> None:
        """Do what the step says, and compare."""
        self._before = self._ids()
        self._do(step)
        assert self._code == step.exit, f"expected exit {step.exit}, got {self._code}:\n{self.said}"
        for pattern in step.says:
            assert re.search(self._text(pattern), self.said), f"does not say {pattern!r}:\n{self.said}"
        for pattern in step.never_says:
            assert not re.search(self._text(pattern), self.said), f"says {pattern!r}:\n{self.said}"
        self._compare(step)

    def _do(self, step: Step) -> None:
        self._code, self.said = 0, ""
        env = self._env | {key: self._text(value) for key, value in step.env.items()}
        if step.moorage is not None:
            ended = self._project.moorage(*map(self._text, step.moorage), exit_code=None, **env)
            self._code, self.said = ended.returncode, ended.stdout + ended.stderr
        elif step.compose is not None:
            self._compose([*map(self._text, step.compose)], env)
        elif step.write is not None:
            for name, text in step.write.items():
                self._project.write(name, text)
        elif step.inside is not None:
            self.said = run_in(self.containers(step.inside.service)[0], "sh", "-c", self._text(step.inside.sh))
        elif step.engine is not None:
            self._act(step.engine)

    def _compose(self, arguments: list[str], env: dict[str, str]) -> None:
        command = [str(Path(sys.executable).with_name("docker-compose")), "-p", self._project.name, *arguments]
        ended = subprocess.run(
            command,
            cwd=self._project.path,
            env=os.environ | self._project.env | env,
            capture_output=True,
            text=True,
            check=False,
        )
        self._code, self.said = ended.returncode, ended.stdout + ended.stderr

    def _act(self, act: Act) -> None:
        api = self._client.api
        for container in self.containers(act.service) if act.service else ():
            match act.do:
                case "stop":
                    container.stop(timeout=0)
                case "remove":
                    container.remove(force=True, v=True)
                case "disconnect":
                    api.disconnect_container_from_network(container.id, self._named(act.network), force=True)
        if act.do == "remove network":
            api.remove_network(self._named(act.network))
        elif act.do == "remove volume":
            api.remove_volume(self._named(act.volume))
        elif act.do == "remove image":
            api.remove_image(self._text(act.image), force=True)

    def _compare(self, step: Step) -> None:
        for service, state in step.states.items():
            found = {container.status for container in self.containers(service)} or {"absent"}
            assert found == {state}, f"{service}: expected {state}, found {', '.join(sorted(found))}\n{self.said}"
        for path, value in step.inspect.items():
            service, *keys = path.split(".")
            found = reduce(lambda part, key: part[key], keys, self.containers(service)[0].attrs)
            assert found == (self._text(value) if isinstance(value, str) else value), path
        ids = self._ids()
        for service in step.same:
            assert ids.get(service) == self._before.get(service), f"{service} was re-created\n{self.said}"
        for service in step.others:
            assert not {*ids.get(service, ())} & {*self._before.get(service, ())}, f"{service} was not re-created"
        if step.left:
            assert not self._left(), f"left: {self._left()}"

    def containers(self, service: str) -> list[Any]:
        """The containers of a service, by number."""
        chosen = {"label": [f"{_PROJECT}={self._project.name}", f"{_SERVICE}={service}"]}
        found = self._client.containers.list(all=True, ignore_removed=True, filters=chosen)
        lasting = (one for one in found if _NUMBER in one.labels)  # init containers have none
        return sorted(lasting, key=lambda one: int(one.labels[_NUMBER]))

    def _ids(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self._client.api.containers(all=True, filters={"label": f"{_PROJECT}={self._project.name}"}):
            found.setdefault(one["Labels"][_SERVICE], []).append(one["Id"])
        return {service: sorted(ids) for service, ids in found.items()}

    def _left(self) -> list[str]:
        api, chosen = self._client.api, {"label": f"{_PROJECT}={self._project.name}"}
        containers = [one["Names"][0] for one in api.containers(all=True, filters=chosen)]
        networks = [one["Name"] for one in api.networks(filters=chosen)]
        return containers + networks + [one["Name"] for one in api.volumes(filters=chosen)["Volumes"] or ()]

    def _named(self, name: str) -> str:
        """A network or volume of the compose file as the engine knows it; a name that has the stack's in it stays."""
        written = self._text(name)
        return written if self._project.name in written else f"{self._project.name}_{written}"

    def _text(self, text: str) -> str:
        return Template(text).safe_substitute(STACK=self._project.name)


@pytest.fixture
def bench(request: pytest.FixtureRequest, project: Project, docker_client: Any, tiny_image: str) -> Iterator[Bench]:
    """The case's project; at the end the stack goes, whatever became of it."""
    case: Case = request.param
    project.env["TINY_IMAGE"] = tiny_image
    yield Bench(case, project, docker_client)
    project.moorage("down", "--volumes", "--release-ports", "--timeout", "0", exit_code=None)


def _parameters() -> list[Any]:
    marks = {True: [pytest.mark.exhaustive], False: []}
    return [pytest.param(case, case, id=case.name, marks=marks[case.exhaustive]) for case in all_cases()]


@pytest.mark.parametrize(("case", "bench"), _parameters(), indirect=["bench"])
def test_case(case: Case, machine_state: MachineState, bench: Bench) -> None:
    for number, step in enumerate(case.steps, 1):
        try:
            bench.take(step)
        except AssertionError as error:
            doing = step.model_dump(exclude_defaults=True)
            pytest.fail(f"{case.name}: {case.why}\nstep {number} {doing}: {error}", pytrace=False)
