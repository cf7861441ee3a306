"""What is hidden of a definition that the real Compose has read: files, the environment, env files that are secret."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.project_files import text_of
from moorage.errors import DefinitionError
from moorage.model.definition import Hidden, Source
from moorage.show.redaction import redact_data, secret_values
from moorage.testing import MemoryFiles, MemoryStore
from moorage.testing.machine import FakeMachine
from moorage.testing.world import fake_world
from moorage.testing.world import text_of as fake_text_of
from moorage.work.definitions import generations, resolve
from moorage.work.definitions.request import UpRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moorage.interfaces import World
    from moorage.model.definition import Config, Definition

COMPOSE = """
x-moorage: {secret_files: [conf/marked.conf, plain.env]}
services:
  web:
    image: x
    env_file: [{path: secrets.env, required: false}, plain.env, "${OTHER:-other.env}", {path: gone-secret.env, required: false}]
    environment: {PLAIN: visible}
    secrets: [f, e]
    configs: [c, m]
    build: {context: ., secrets: [b]}
secrets:
  f: {file: ./f.txt}
  e: {environment: E_VALUE}
  b: {environment: B_VALUE}
configs:
  c: {file: ./c.conf}
  m: {file: ./conf/marked.conf}
"""
FILES = {
    "f.txt": "file-mark-11\nsecond-mark-12",
    "c.conf": "listen 80;\nupstream conf-mark-21 and more;\napi_key: key-mark-22\n",
    "conf/marked.conf": "short-31\n",
    "secrets.env": 'ONE="env-mark-41 $${X}"\nTWO=env-mark-42 # why\n',
    "plain.env": "THREE=env-mark-43\n",
    "other.env": "FOUR=shown-44\n",
    "Dockerfile": "FROM x\n",
}
HIDDEN = [
    *("file-mark-11", "second-mark-12", "upstream conf-mark-21 and more;", "key-mark-22", "short-31"),
    *("env-mark-41 ${X}", "env-mark-42", "env-mark-43", "e-mark-51", "b-mark-52", "s-mark-61"),
]
SHOWN = ["listen 80;", "shown-44", "visible"]


def censor(configs: Sequence[Config], hidden: Hidden) -> Callable[[Any], Any]:
    newest, *_ = configs or ({},)
    values = secret_values(newest, hidden.secrets, hidden.configs)
    return lambda data: redact_data(data, values)


@pytest.fixture
def world(tmp_path: Path) -> World:
    files = MemoryFiles()
    made = fake_world(FakeMachine(), MemoryStore(), files)
    compose = ComposeCli(made.settings.model_copy(update={"home": tmp_path / "home"}))
    return replace(made, compose=compose, text_of=text_of, censor=censor)


def resolved(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Definition:
    for name, text in {"compose.yaml": COMPOSE, **FILES}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setenv("E_VALUE", "e-mark-51")
    monkeypatch.setenv("B_VALUE", "b-mark-52")
    source = Source(directory=folder, environment=(("S", "s-mark-61"),), secret=("S",))
    return resolve.resolve_as(world, UpRequest(source=source), "shop").definition


def test_secrets_of_every_origin(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = resolved(world, tmp_path, monkeypatch)
    assert [notice for notice in definition.notices if "cannot be hidden" in notice] == []
    hide = generations.censor(world, "shop", definition)
    assert [text for text in HIDDEN if hide(f"> {text}") == f"> {text}"] == []
    assert [text for text in SHOWN if hide(text) != text] == []
    (tmp_path / "f.txt").write_text("changed-mark-13")  # Compose mounts the file: the container has it at once
    hide = generations.censor(world, "shop", definition)
    assert hide(["changed-mark-13", "file-mark-11"]) == ["****", "****"]


def test_what_cannot_be_read_is_said(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(world, tmp_path, monkeypatch)
    (tmp_path / "f.txt").unlink()
    os.mkfifo(tmp_path / "f.txt")
    (tmp_path / "c.conf").unlink()
    definition = resolve.resolve_as(world, UpRequest(source=Source(directory=tmp_path)), "shop").definition
    said = [notice for notice in definition.notices if "cannot be hidden" in notice]
    assert [notice.split(":")[0] for notice in said] == ["secrets.f.file", "configs.c.file"]
    assert "not a regular file" in said[0]
    assert "No such file" in said[1]


def test_what_compose_quotes_in_an_error_is_hidden(world: World, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: x, mem_limit: '${S}'}}")
    source = Source(directory=tmp_path, environment=(("S", "s-mark-61"),), secret=("S",))
    with pytest.raises(DefinitionError, match=r"\*\*\*\*") as caught:
        resolve.resolve_as(world, UpRequest(source=source), "shop")
    assert "s-mark" not in str(caught.value.as_dict())


@pytest.mark.parametrize("read", [text_of, fake_text_of], ids=["disk", "fake"])
def test_text_of_a_file(read: Callable[[Path], tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one\r\ntwo \xff")
    assert read(tmp_path / "x")[0].replace("\r", "") == "one\ntwo \ufffd"
    assert read(tmp_path / "x")[1] == ""
    assert read(tmp_path / "none") == ("", "No such file or directory")


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert text_of(tmp_path / "pipe") == ("", "not a regular file")
    assert text_of(Path("/dev/zero")) == ("", "not a regular file")
    assert text_of(tmp_path)[1] == "not a regular file"
    assert text_of(Path("a\0b"))[1]
    (tmp_path / "large").write_bytes(b"x" * (1 << 20))
    text, why = text_of(tmp_path / "large")
    assert len(text) == 256 << 10
    assert why == "larger than 256 KiB"
