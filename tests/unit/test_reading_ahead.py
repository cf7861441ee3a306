"""The definition is read under a likely name before the name is known; a wrong guess costs time, and nothing else."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.errors import DefinitionError
from moorage.model.definition import Source
from moorage.model.state import StackRecord
from moorage.rules.naming import with_path_hash
from moorage.settings import Settings
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions.request import UpRequest, name_of
from moorage.work.definitions.resolve import resolve
from moorage.world import open_world
from tests.properties.test_one_way import Counting

WEB = {"image": "x", "environment": {"NAME": "${COMPOSE_PROJECT_NAME}"}, "profiles": ["p"]}
DB = {"image": "x"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("COMPOSE_PROJECT_NAME", "WHO"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "Shop"
    folder.mkdir()
    return folder


def write(project: Path, **more: Any) -> None:
    (project / "compose.yaml").write_text(json.dumps({**more, "services": {"db": DB, "web": WEB}}))


def world_of(project: Path):
    store = MemoryStore(ManualClock())
    return fake_world(FakeMachine(), store, MemoryFiles(project.parent / "home"))


def record(world, name: str, path: Path) -> None:
    world.store.save_stack(StackRecord(name=name, path=str(path), created_at=world.clock.now()))


def read(world, request: UpRequest):
    calls = Counter[str]()
    return resolve(replace(world, compose=Counting(world.compose, calls)), request), calls


@pytest.mark.parametrize(
    ("text", "env_file", "shell", "asked", "known", "name", "guessed"),
    [
        ({}, "", {}, {}, (), "shop", True),
        ({}, "", {}, {"name": "mine"}, (), "mine", True),
        ({"name": "said"}, "", {}, {}, (), "said", True),
        ({"x-a": 1, "name": "said"}, "", {}, {}, (), "said", False),
        ({"x-a": 1, "name": "said"}, "", {}, {}, ("said",), "said", True),
        ({"name": "said"}, "", {}, {}, ("older",), "said", True),
        ({"name": "${WHO:-said}"}, "", {}, {}, (), "said", False),
        ({"name": "${WHO:-said}"}, "", {}, {}, ("said",), "said", True),
        ({"name": "${WHO:-said}"}, "", {}, {}, ("said", "shop"), "said", False),
        ({"name": "said-${WHO:-by}"}, "", {}, {}, (), "said-by", False),
        ({}, "", {"COMPOSE_PROJECT_NAME": "shell"}, {}, ("shop",), "shell", True),
        ({}, "COMPOSE_PROJECT_NAME=file", {}, {}, (), "file", False),
        ({}, "COMPOSE_PROJECT_NAME=file", {}, {}, ("file",), "file", True),
        ({}, "COMPOSE_PROJECT_NAME=file", {}, {}, ("older",), "file", False),
        ({}, "COMPOSE_PROJECT_NAME=file", {}, {}, ("file", "older"), "file", False),
        ({}, "# COMPOSE_PROJECT_NAME=file", {}, {}, ("older",), "shop", False),
        ({}, "", {}, {}, ("older",), "shop", False),
        ({}, "", {}, {}, ("older", "shop"), "shop", True),
        ({}, "", {}, {"services": ("web",)}, (), "shop", False),
        ({}, "", {}, {"services": ("db",)}, (), "shop", True),
    ],
)
def test_the_name_is_the_same_and_the_definition_is_that_of_the_name(
    project, monkeypatch, text, env_file, shell, asked, known, name, guessed
):
    write(project, **text)
    (project / ".env").write_text(env_file)
    for key, value in shell.items():
        monkeypatch.setenv(key, value)
    world, request = world_of(project), UpRequest(source=Source(directory=project, profiles=("q",)), **asked)
    for one in known:
        record(world, one, project)
    resolved, calls = read(world, request)
    assert resolved.name == resolved.definition.config["name"] == name
    assert name_of(world, request, resolved.raw) == name
    assert calls["config"] == (0 if guessed else 1)
    assert ("web" in resolved.definition.services) == ("web" in request.services)


def test_a_name_that_another_directory_has(project):
    write(project)
    world = world_of(project)
    record(world, "shop", project.parent / "another")
    mine = with_path_hash("shop", project)
    resolved, calls = read(world, UpRequest(source=Source(directory=project)))
    assert (resolved.name, calls["config"]) == (mine, 1)
    record(world, mine, project)
    resolved, calls = read(world, UpRequest(source=Source(directory=project)))
    assert (resolved.name, calls["config"]) == (mine, 0)


@pytest.mark.parametrize("name", ["said", "${WHO:-said}"])
def test_with_compose_itself(project, name):
    write(project, name=name)
    world = replace(world_of(project), compose=ComposeCli(Settings()))
    resolved = resolve(world, UpRequest(source=Source(directory=project, profiles=("p",))))
    assert resolved.definition.config["services"]["web"]["environment"] == {"NAME": "said"}
    assert resolved.raw["name"] == name


def wait_for(file: Path) -> None:
    while not file.exists() or not file.read_text().endswith("\n"):
        time.sleep(0.01)


def is_gone(file: Path) -> bool:
    """A process whose pid is in a file. On a busy machine it may have been ended before it wrote that."""
    try:
        os.kill(int(file.read_text()), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return True
    return False


def program(folder: Path, *, written: str) -> Path:
    """A Compose that does as told with what is written, and never comes to an end with what is meant."""
    path = folder / "compose"
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "version*) echo 5.0.0;;\n"
        f"*--no-interpolate*) while [ ! -s {folder}/pid ]; do sleep 0.01; done; {written};;\n"
        f"*json*) echo $$ >{folder}/pid; exec sleep 600;;\n"
        f"*) {written};;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("echo 'no such file' >&2; exit 14", "no such file"),
        ('echo \'{"name": "x", "services": {}}\'', "belongs to"),
        ("sleep 600", "no answer within"),
    ],
    ids=["cannot be read", "a name of another", "no answer"],
)
def test_nothing_goes_on_reading_after_an_error(project, tmp_path, written, says):
    write(project)
    world = world_of(project)
    record(world, "mine", project.parent / "another")
    limit_s = 1 if "sleep" in written else 60
    settings = Settings(home=tmp_path, compose=program(tmp_path, written=written), compose_timeout_s=limit_s)
    request = UpRequest(source=Source(directory=project), name="mine")
    with pytest.raises(DefinitionError, match=says):
        resolve(replace(world, compose=ComposeCli(settings)), request)
    assert is_gone(tmp_path / "pid")


def test_a_reading_that_is_interrupted_is_ended(project, tmp_path, monkeypatch):
    write(project)
    settings = Settings(home=tmp_path, compose=program(tmp_path, written="sleep 600"))
    compose = ComposeCli(settings)

    def interrupted(_source: Source) -> Any:
        wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    monkeypatch.setattr(compose, "raw_config", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve(replace(world_of(project), compose=compose), UpRequest(source=Source(directory=project)))
    assert is_gone(tmp_path / "pid")


def test_a_name_that_is_a_secret_and_none_is_not_told(project):
    """The first thing that looks at it is the guess."""
    write(project)
    given = (("COMPOSE_PROJECT_NAME", "Not A Name"),)
    source = Source(directory=project, environment=given, secret=("COMPOSE_PROJECT_NAME",))
    with pytest.raises(DefinitionError) as caught:
        resolve(open_world(settings=Settings(home=project.parent / "home")), UpRequest(source=source))
    assert "Not A Name" not in f"{caught.value} {caught.value.hint} {caught.value.fields}"


@pytest.mark.parametrize(
    ("more", "at_once"),
    [
        ({}, True),
        ({"include": ["oci://registry.example/shop:1"]}, False),
        ({"services": {"db": {"extends": {"file": "oci://registry.example/shop:1", "service": "db"}}}}, False),
        ({"x-long": "x" * 300_000}, False),
    ],
    ids=["nothing else", "include", "extends", "too long to look through"],
)
def test_what_may_be_fetched_is_not_fetched_by_two_at_once(project, tmp_path, more, at_once):
    """Two that fill one folder of Compose's cache: the second takes for whole what the first has only begun."""
    write(project)
    (project / "compose.override.yaml").write_text(json.dumps({"services": {}, **more}))
    asked, answer = tmp_path / "asked", '{"name": "shop", "services": {}}'
    path = tmp_path / "compose"
    path.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo 5.0.0 && exit\necho "$@" >>{asked}\necho \'{answer}\'\n')
    path.chmod(0o755)
    ahead = ComposeCli(Settings(home=tmp_path, compose=path)).begin_config(Source(directory=project), "shop")
    if at_once:
        wait_for(asked)
    else:
        assert not asked.exists()
    assert ahead.result()["name"] == "shop"
    assert len(asked.read_text().splitlines()) == 1
    ahead.cancel()
