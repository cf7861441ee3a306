"""`COMPOSE_…` variables, in the shell and in `.env`, choose what they choose with Compose, and reach no call of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import DefinitionError
from moorage.hub.api import HubAddress
from moorage.hub.project import whole_environment
from moorage.model.state import StackRecord
from moorage.rules.environments import for_own_files, for_reading, without_project
from moorage.rules.naming import normalized, with_path_hash
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryStore, fake_world
from moorage.work.definitions.request import UpRequest, name_of, source_of

OF_COMPOSE = {
    "COMPOSE_FILE": "a.yaml",
    "COMPOSE_PATH_SEPARATOR": "#",
    "COMPOSE_PROFILES": "p",
    "COMPOSE_ENV_FILES": "x.env",
    "COMPOSE_PROJECT_NAME": "other",
    "COMPOSE_DISABLE_ENV_FILE": "1",
    "COMPOSE_PROGRESS": "json",
}
OF_CALLS = {
    **OF_COMPOSE,
    "COMPOSE_IGNORE_ORPHANS": "1",
    "COMPOSE_REMOVE_ORPHANS": "0",
    "COMPOSE_BAKE": "true",
    "COMPOSE_MENU": "1",
    "COMPOSE_ANYTHING": "new",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two compose files, one of its folders, and the working directory in it."""
    for name in OF_COMPOSE:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "My Shop"
    (folder / "deploy").mkdir(parents=True)
    (folder / "inner").mkdir()
    for file in ("compose.yaml", "deploy/a.yaml", "deploy/b.yaml"):
        (folder / file).write_text('{"services": {"web": {"image": "x"}}}')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWD", str(folder))
    return folder


@pytest.mark.parametrize(
    ("shell", "env_file", "options", "wanted"),
    [
        ({}, "", {}, {"directory": "."}),
        ({"COMPOSE_FILE": "deploy/a.yaml"}, "", {}, {"directory": "deploy", "files": ["deploy/a.yaml"]}),
        ({"COMPOSE_FILE": "deploy/a.yaml:deploy/b.yaml"}, "", {}, {"directory": "deploy", "files": ["deploy/a.yaml", "deploy/b.yaml"]}),
        ({"COMPOSE_FILE": "deploy/a.yaml,deploy/b.yaml", "COMPOSE_PATH_SEPARATOR": ","}, "", {}, {"directory": "deploy", "files": ["deploy/a.yaml", "deploy/b.yaml"]}),
        ({}, "COMPOSE_FILE=deploy/a.yaml:deploy/b.yaml", {}, {"directory": "deploy", "files": ["deploy/a.yaml", "deploy/b.yaml"]}),
        ({}, "COMPOSE_PATH_SEPARATOR=';'\nCOMPOSE_FILE=\"deploy/a.yaml;deploy/b.yaml\"", {}, {"directory": "deploy", "files": ["deploy/a.yaml", "deploy/b.yaml"]}),
        ({}, "export COMPOSE_FILE=deploy/a.yaml # the first\n", {}, {"directory": "deploy", "files": ["deploy/a.yaml"]}),
        ({}, "WHERE=deploy\nCOMPOSE_FILE=${WHERE}/a.yaml", {}, {"directory": "deploy", "files": ["deploy/a.yaml"]}),
        ({}, "#COMPOSE_FILE=deploy/a.yaml", {}, {"directory": "."}),
        ({"COMPOSE_FILE": "deploy/b.yaml"}, "COMPOSE_FILE=deploy/a.yaml", {}, {"directory": "deploy", "files": ["deploy/b.yaml"]}),
        ({"COMPOSE_FILE": "deploy/b.yaml"}, "", {"files": ["compose.yaml"]}, {"directory": ".", "files": ["compose.yaml"]}),
        ({"COMPOSE_FILE": ""}, "", {}, {"directory": "."}),
        ({"COMPOSE_DISABLE_ENV_FILE": "true"}, "COMPOSE_FILE=deploy/a.yaml", {}, {"directory": ".", "env_files": ["/dev/null"]}),
        ({"COMPOSE_DISABLE_ENV_FILE": "0"}, "COMPOSE_FILE=deploy/a.yaml", {}, {"directory": "deploy", "files": ["deploy/a.yaml"]}),
        ({"COMPOSE_ENV_FILES": "one.env, two.env"}, "", {}, {"directory": ".", "env_files": ["one.env", "two.env"]}),
        ({"COMPOSE_ENV_FILES": "one.env"}, "", {"env_files": ["own.env"]}, {"directory": ".", "env_files": ["own.env"]}),
        ({"COMPOSE_ENV_FILES": "deploy/x.env"}, "", {}, {"directory": "deploy", "files": ["deploy/a.yaml"], "env_files": ["deploy/x.env"]}),
        ({"COMPOSE_PROFILES": "a, b,"}, "", {}, {"directory": ".", "profiles": ["a", "b"]}),
        ({"COMPOSE_PROFILES": "a"}, "", {"profiles": ["c"]}, {"directory": ".", "profiles": ["c"]}),
    ],
)  # fmt: skip
def test_what_they_choose_is_in_the_source(project, monkeypatch, shell, env_file, options, wanted):
    (project / ".env").write_text(env_file)
    (project / "deploy" / "x.env").write_text("COMPOSE_FILE=deploy/a.yaml\n")
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    source = source_of(None, **{"files": (), "profiles": (), "env_files": (), **options})
    assert source.directory == (project / wanted["directory"]).resolve()
    assert source.files == tuple(project / file for file in wanted.get("files", ()))
    assert source.profiles == tuple(wanted.get("profiles", ()))
    elsewhere = [".env"] if wanted["directory"] != "." else []  # Compose reads that of the working directory, too
    assert source.env_files == tuple(project / file for file in wanted.get("env_files", elsewhere))


def test_from_a_folder_within_its_own_env_file_comes_before_the_project_s(project, monkeypatch):
    monkeypatch.chdir(project / "inner")
    assert source_of(None, (), (), ()).env_files == ()
    (project / "inner" / ".env").write_text("A=1")
    assert source_of(None, (), (), ()).env_files == (project / "inner" / ".env",)
    (project / ".env").write_text("A=2")
    source = source_of(None, (), (), ())
    assert (source.directory, source.env_files) == (project, (project / ".env", project / "inner" / ".env"))
    assert source_of(project, (), (), ()).env_files == ()


def test_from_a_folder_within_the_project_is_the_same(project, monkeypatch):
    (project / ".env").write_text("COMPOSE_FILE=deploy/a.yaml")
    above = source_of(None, (), (), ())
    monkeypatch.chdir(project / "inner")
    below = source_of(None, (), (), ())
    assert below == above
    assert (below.directory, below.files) == (project / "deploy", (project / "deploy" / "a.yaml",))
    assert below.env_files == (project / ".env",)


def test_neither_true_nor_false(project, monkeypatch):
    monkeypatch.setenv("COMPOSE_DISABLE_ENV_FILE", "perhaps")
    with pytest.raises(DefinitionError, match="COMPOSE_DISABLE_ENV_FILE"):
        source_of(None, (), (), ())


def test_calls_on_our_own_files_get_none_of_them():
    kept = for_own_files({**OF_CALLS, "COMPOSE_PARALLEL_LIMIT": "2", "PATH": "/bin", "DOCKER_HOST": "unix:///x"})
    plain = {"COMPOSE_ANSI": "never", "COMPOSE_COMPATIBILITY": "false", "COMPOSE_STATUS_STDOUT": "false"}
    assert kept == {"COMPOSE_PARALLEL_LIMIT": "2", "PATH": "/bin", "DOCKER_HOST": "unix:///x", **plain}


def test_a_file_is_read_with_its_own_variables_and_none_that_chooses():
    kept = for_reading({**OF_COMPOSE, "COMPOSE_DOMAIN": "example.org", "COMPOSE_ANSI": "always"})
    assert kept["COMPOSE_DOMAIN"] == "example.org"
    assert kept["COMPOSE_ANSI"] == "never"
    assert not set(OF_COMPOSE) & set(kept)
    assert without_project({**OF_COMPOSE, "A": "1"}) == {"A": "1", "COMPOSE_PROGRESS": "json"}


def test_processes_of_the_hub_get_none_of_them(monkeypatch):
    for name, value in OF_COMPOSE.items():
        monkeypatch.setenv(name, value)
    environment = whole_environment(HubAddress(api_url="http://127.0.0.1:1/api", ui_url="", managed=False))
    assert not {name for name in OF_COMPOSE if name != "COMPOSE_PROGRESS"} & set(environment)


# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("shop", "shop"),
        ("My Shop", "myshop"),
        ("my_shop", "my_shop"),
        ("My-Shop.v2", "my-shopv2"),
        ("_private", "private"),
        ("-_-x", "x"),
        ("1st", "1st"),
        ("UPPER", "upper"),
        ("trailing-", "trailing-"),
        ("Ünï Cödé", "ncd"),
        ("größe", "gre"),
        ("日本", "stack"),
        ("--", "stack"),
        ("", "stack"),
        ("a" * 300, "a" * 48),
        ("a" * 47 + "-b", "a" * 47),
    ],
)
def test_a_name_is_derived_as_compose_derives_it(directory, name):
    assert normalized(directory) == name


class Names:
    """Names of the stack of a directory, beside those on record."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore(clock := ManualClock())
        self.world = fake_world(FakeMachine(clock), self.store, MemoryFiles(folder / "home"))

    def known(self, name: str, path: Path) -> None:
        now = self.world.clock.now()
        self.store.save_stack(StackRecord(name=name, path=str(path), created_at=now, generation=1))

    def of(self, raw: dict[str, Any] | None = None, **source: Any) -> str:
        found = source_of(None, (), (), ()).model_copy(update=source)
        return name_of(self.world, UpRequest(source=found), raw or {})


def test_a_new_stack_is_called_as_compose_calls_it(project):
    assert Names(project).of() == "myshop"
    assert Names(project).of({"name": "Our Shop"}) == "ourshop"


def test_a_stack_keeps_the_name_that_it_has(project):
    """Earlier versions made `my-shop` of `My Shop`."""
    names = Names(project)
    names.known("my-shop", project)
    assert names.of() == "my-shop"
    assert names.of({"name": "Our Shop"}) == "ourshop"
    names.known("our-shop", project)
    assert names.of({"name": "Our Shop"}) == "our-shop"
    names.known("myshop", project)
    assert names.of() == "myshop"


def test_the_earlier_name_of_another_directory_is_not_taken(project):
    names = Names(project)
    names.known("my-shop", project.parent)
    assert names.of() == "myshop"


def test_a_hash_stays_when_the_other_directory_is_gone(project):
    names = Names(project)
    names.known("myshop", project.parent)
    hashed = with_path_hash("myshop", project)
    assert names.of() == hashed
    names.known(hashed, project)
    names.store.forget_stack("myshop")
    assert names.of() == hashed


def test_a_link_gives_its_name_as_with_compose_unless_there_is_a_stack(project, monkeypatch):
    link = project.parent / "link"
    link.symlink_to(project)
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    names, source = Names(project), source_of(None, (), (), ())
    assert (source.directory, source.called) == (project, link)
    assert names.of() == "link"
    assert source_of(link, (), (), ()) == source
    names.known("myshop", project)
    assert names.of() == "myshop"


def test_a_stale_working_directory_in_the_environment_is_no_name(project, monkeypatch):
    monkeypatch.setenv("PWD", str(project.parent))
    assert source_of(None, (), (), ()).called is None


def test_the_name_of_the_env_file(project):
    (project / ".env").write_text("# COMPOSE_PROJECT_NAME=no\n")
    assert Names(project).of() == "myshop"
    (project / ".env").write_text("COMPOSE_PROJECT_NAME=of-the-file\n")
    assert Names(project).of() == "of-the-file"
    assert Names(project).of(env_files=(Path(os.devnull),)) == "myshop"
    (project / ".env").write_text("COMPOSE_PROJECT_NAME=Not One\n")
    with pytest.raises(DefinitionError, match="not a valid stack name"):
        Names(project).of()
