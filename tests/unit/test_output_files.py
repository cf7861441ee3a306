"""Files that are written where others may write too: no link is followed, and nobody else reads them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.adapters.files import made_beside, write_beneath
from moorage.adapters.registry.history import copy_history
from moorage.adapters.registry.store import SqliteStore
from moorage.errors import MoorageError
from moorage.model.state import StackRecord
from moorage.model.volume import Manifest
from moorage.work.ephemeral.artifacts import Artifacts
from moorage.work.operations.init import write_files
from moorage.work.volumes.archive import Writer

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
Trap = Callable[[Path], None]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text("precious")
    return file


TRAPS = ["a link", "a link to nothing", "a hard link", "a file that all may read", "nothing"]


@pytest.fixture(params=TRAPS)
def trap(request: pytest.FixtureRequest, victim: Path) -> Trap:
    """Puts what somebody else has prepared to where a file is going to be written."""

    def put(place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        match request.param:
            case "a link":
                place.symlink_to(victim)
            case "a link to nothing":
                place.symlink_to(victim.with_name("new"))
            case "a hard link":
                place.hardlink_to(victim)
            case "a file that all may read":
                place.write_text("old")
                place.chmod(0o644)

    return put


def assert_safe(file: Path, victim: Path) -> None:
    assert file.lstat().st_mode == 0o100600
    assert file.stat().st_nlink == 1
    assert victim.read_text() == "precious"
    assert not victim.with_name("new").exists()
    assert [one.name for one in file.parent.iterdir() if "unfinished" in one.name] == []


def test_artifacts(tmp_path: Path, victim: Path, trap: Trap) -> None:
    artifacts = Artifacts(tmp_path / "kept", write_beneath)
    for name in ("summary.md", "logs/web-1.log"):
        trap(tmp_path / "kept" / name)
        artifacts.write(name, "text\ud800")
        assert (tmp_path / "kept" / name).read_text() == "text?"
        assert_safe(tmp_path / "kept" / name, victim)


def test_no_folder_on_the_way_is_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "logs").symlink_to(theirs)
    with pytest.raises(OSError, match=r"Not a directory|symbolic link"):
        write_beneath(tmp_path / "kept", "logs/web-1.log", "text")
    assert list(theirs.iterdir()) == []
    (tmp_path / "named").symlink_to(theirs)
    write_beneath(tmp_path / "named", "summary.md", "text")
    assert (theirs / "summary.md").read_text() == "text", "the folder that the user names may be a link"


def test_the_history(tmp_path: Path, victim: Path, trap: Trap) -> None:
    store = SqliteStore(tmp_path / "hub.db")
    for name in ("shop", "other"):
        store.save_stack(StackRecord(name=name, path=f"/{name}", created_at=NOW))
    store.close()
    target = tmp_path / "kept" / "hub.db"
    trap(target)
    target.parent.mkdir(exist_ok=True)
    copy_history(tmp_path / "hub.db", target, "shop")
    assert_safe(target, victim)
    with closing(sqlite3.connect(target)) as copy:
        assert [json.loads(text)["name"] for (text,) in copy.execute("SELECT record FROM stacks")] == ["shop"]


def test_what_is_made_beside_replaces_nothing_if_it_fails(tmp_path: Path, victim: Path, trap: Trap) -> None:
    target = tmp_path / "backups" / "prefect.db"
    trap(target)
    target.parent.mkdir(exist_ok=True)
    before = sorted(target.parent.iterdir())

    def fill() -> None:
        with made_beside(target) as made:
            assert made.parent.stat().st_mode == 0o040700
            raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        fill()
    assert sorted(target.parent.iterdir()) == before
    with made_beside(target) as made:
        made.write_text("whole")
    assert target.read_text() == "whole"
    assert_safe(target, victim)


def test_a_snapshot_and_its_checksum(tmp_path: Path, victim: Path, trap: Trap) -> None:
    target = tmp_path / "shared" / "shop.tar.zst"
    about = Manifest(kind="files", stack="shop", volume="data", created_at=NOW)
    for place in (target, target.with_name("shop.tar.zst.sha256"), target.with_name(".shop.tar.zst.r1.unfinished")):
        trap(place)
    with Writer(target, about, run="r1", force=True) as writer:
        writer.finish()
    assert_safe(target, victim)
    assert_safe(target.with_name("shop.tar.zst.sha256"), victim)


def test_a_project_is_not_written_through_links(tmp_path: Path, victim: Path) -> None:
    clone, theirs = tmp_path / "clone", tmp_path / "theirs"
    clone.mkdir()
    theirs.mkdir()
    (clone / "Dockerfile").symlink_to(victim.with_name("new"))
    (clone / "flows").symlink_to(theirs)
    for name in ("Dockerfile", "flows/up.py"):
        with pytest.raises(MoorageError, match="already exists"):
            write_files({name: b"text"}, clone, force=False)
    write_files({"Dockerfile": b"text"}, clone, force=True)
    assert (clone / "Dockerfile").read_bytes() == b"text"
    assert not victim.with_name("new").exists()
    assert list(theirs.iterdir()) == []
