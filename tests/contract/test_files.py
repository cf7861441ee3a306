"""Files: one suite for those on disk and those in memory."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from moorage.adapters.files import LocalFiles
from moorage.errors import HomeError
from moorage.testing import MemoryFiles


@pytest.fixture(params=["disk", "memory"])
def files(request, tmp_path):
    return LocalFiles(tmp_path / "home") if request.param == "disk" else MemoryFiles()


@pytest.fixture
def on_disk(tmp_path):
    return LocalFiles(tmp_path / "home")


def test_what_was_written_is_read(files):
    path = files.write("generations/shop/1.json", "{}\r\n é")
    assert path == files.root / "generations/shop/1.json"
    assert files.read("generations/shop/1.json") == "{}\r\n é"


def test_writing_again_replaces(files):
    files.write("a", "long old text")
    files.write("a", "new")
    assert files.read("a") == "new"


def test_what_is_not_there(files):
    assert files.read("a/b") is None
    assert list(files.names("a")) == []
    files.remove("a/b")


def test_removed(files):
    files.write("a/b", "x")
    files.remove("a/b")
    assert files.read("a/b") is None
    assert list(files.names("a")) == []


def test_nothing_is_unfinished(files):
    files.write("a/b", "x")
    assert list(files.unfinished()) == []


def test_what_a_killed_write_has_left_is_found_when_it_is_old(on_disk):
    for name in ("a", "generations/shop/1.json", "failures/x.json"):
        on_disk.write(name, "whole")
    left = [on_disk.root / one for one in (".unfinished-1", "failures/.unfinished-2", "generations/shop/.unfinished-3")]
    for number, one in enumerate(left):
        one.write_text("half")
        os.utime(one, times=(number, number))
    (on_disk.root / "failures" / ".unfinished-4").write_text("it is written just now")
    (on_disk.root / "failures" / ".unfinished-5").mkdir()
    os.utime(on_disk.root / "failures" / ".unfinished-5", times=(0, 0))
    names = list(on_disk.unfinished())
    assert names == sorted(str(one.relative_to(on_disk.root)) for one in left)
    for name in names:
        on_disk.remove(name)
    assert list(on_disk.unfinished()) == []
    assert list(on_disk.names("failures")) == ["failures/x.json"]


def test_dropped(files):
    for name in ("all/a/b", "all/a/c", "all/d/e/f"):
        files.write(name, "x")
    for _ in range(2):
        files.drop("all/a")
    files.drop("all/d")  # a folder below it keeps it
    assert list(files.folders("all")) == ["d"]
    assert files.read("all/a/b") is None
    assert files.read("all/d/e/f") == "x"


def test_names_are_those_of_one_folder_and_can_be_read(files):
    for name in ("a/2", "a/1", "a/deep/3", "b/4"):
        files.write(name, name)
    assert list(files.names("a")) == ["a/1", "a/2"]
    assert [files.read(name) for name in files.names("a")] == ["a/1", "a/2"]


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x", "a/../../x", "a/..", "nul\0"])
@pytest.mark.parametrize("call", ["read", "remove", "names", "write", "drop"])
def test_names_stay_inside(files, name, call):
    with pytest.raises(HomeError, match="inside"):
        getattr(files, call)(name, *(["x"] if call == "write" else []))


def test_private(on_disk):
    path = on_disk.write("a/b/c", "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent, on_disk.root):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    LocalFiles(tmp_path).write("a", "x")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_text_that_is_no_unicode(on_disk):
    on_disk.write("log", "a\udcffb")
    assert on_disk.read("log") == "a\\udcffb"
    (on_disk.root / "log").write_bytes(b"a\xffb")
    assert on_disk.read("log") == "a\ufffdb"


def test_readers_see_whole_texts(on_disk):
    texts = ["a" * 200_000, "b" * 200_000]
    on_disk.write("x", texts[0])
    writer = threading.Thread(target=lambda: [on_disk.write("x", texts[i % 2]) for i in range(40)])
    writer.start()
    while writer.is_alive():
        assert on_disk.read("x") in texts
    writer.join()


def test_a_failed_write_leaves_the_old_text_and_nothing_else(on_disk, monkeypatch):
    on_disk.write("x", "old")

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HomeError, match="No space left") as caught:
        on_disk.write("x", "new")
    assert "Free some space" in caught.value.hint
    assert on_disk.read("x") == "old"
    assert [file.name for file in on_disk.root.iterdir()] == ["x"]


def test_unfinished_files_of_a_crash_are_not_named(on_disk):
    path = on_disk.write("a/b", "x")
    (path.parent / ".unfinished-123").write_text("half")
    assert list(on_disk.names("a")) == ["a/b"]


def test_a_file_where_a_folder_should_be(on_disk):
    on_disk.write("a", "x")
    with pytest.raises(HomeError):
        on_disk.write("a/b", "x")
    assert on_disk.read("a/b") is None


class TestSomethingElseInPlaceOfAFile:
    """What is not a file is said, at once; what cannot be looked at hides no other."""

    def test_a_pipe_a_folder_and_a_device_are_not_read(self, on_disk):
        on_disk.write("failures/good.json", "{}")
        os.mkfifo(on_disk.root / "failures/pipe.json")
        (on_disk.root / "failures/folder.json").mkdir()
        (on_disk.root / "failures/device.json").symlink_to("/dev/zero")
        (on_disk.root / "failures/itself.json").symlink_to("itself.json")
        for name in ("pipe", "folder", "device", "itself"):
            with pytest.raises(HomeError, match=name):
                on_disk.read(f"failures/{name}.json")
        assert list(on_disk.names("failures")) == ["failures/good.json"]

    def test_nothing_is_removed_behind_a_link(self, on_disk, tmp_path):
        (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
        precious = tmp_path / "elsewhere" / "1.json"
        precious.write_text("precious")
        on_disk.write("generations/shop/1.json", "{}")
        (on_disk.root / "generations/linked").symlink_to(tmp_path / "elsewhere")
        for act in (
            lambda: on_disk.remove("generations/linked/1.json"),
            lambda: on_disk.drop("generations/linked"),
            lambda: on_disk.drop("generations/linked/sub"),
        ):
            with pytest.raises(HomeError):
                act()
        assert precious.read_text() == "precious"
        on_disk.drop("generations/shop")
        assert list(on_disk.folders("generations")) == ["linked"]
