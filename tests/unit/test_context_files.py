"""Which files a build sees, by Docker's rules; and that looking for them ends, whatever is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moorage.adapters import context_files
from moorage.adapters.build_context import BuildContexts
from moorage.adapters.context_files import files_in, ignored
from moorage.errors import DefinitionError

TREE = (
    "a.txt",
    "b.txt",
    "A.TXT",
    "x.md",
    "doc/x.md",
    "doc/deep/x.md",
    "doc/keep.txt",
    "lib/a.py",
    "lib/a.pyc",
    ".env",
    "é.txt",
)
# As BuildKit has them: https://docs.docker.com/build/concepts/context/#dockerignore-files, and moby/patternmatcher.
EXCLUDED = {
    ("*.txt",): {"a.txt", "b.txt", "é.txt"},
    ("?.txt",): {"a.txt", "b.txt", "é.txt"},
    ("[ab].txt",): {"a.txt", "b.txt"},
    ("[!a].txt",): {"b.txt", "é.txt"},
    ("/a.txt",): {"a.txt"},
    ("a.txt/",): {"a.txt"},
    ("./a.txt",): {"a.txt"},
    ("doc/../a.txt",): {"a.txt"},
    (".",): set(),
    ("",): set(),
    ("*/*.md",): {"doc/x.md"},
    ("**/*.md",): {"x.md", "doc/x.md", "doc/deep/x.md"},
    ("**",): {*TREE, "doc", "doc/deep", "lib"},
    ("doc",): {"doc", "doc/x.md", "doc/deep", "doc/deep/x.md", "doc/keep.txt"},
    ("doc/*",): {"doc/x.md", "doc/deep", "doc/deep/x.md", "doc/keep.txt"},
    ("doc", "!doc/keep.txt"): {"doc", "doc/x.md", "doc/deep", "doc/deep/x.md"},
    ("doc", "!**/x.md"): {"doc", "doc/deep", "doc/keep.txt"},
    ("!a.txt", "*.txt"): {"a.txt", "b.txt", "é.txt"},
    ("**/*.py[co]",): {"lib/a.pyc"},
    ("lib/**",): {"lib/a.py", "lib/a.pyc"},
    ("(a).txt", "a+.txt", "a|b.txt", "{a}.txt", "^a.txt", "$"): set(),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("patterns", EXCLUDED, ids=" ".join)
def test_what_is_excluded(tree, patterns):
    everything = set(files_in(tree, []))
    assert everything == {*TREE, "doc", "doc/deep", "lib"}
    assert everything - set(files_in(tree, patterns)) == EXCLUDED[patterns]


def test_what_counts_always(tree):
    (tree / ".dockerignore").touch()
    assert files_in(tree, ["**"], ["doc/x.md"]) == [".dockerignore", "doc/x.md"]


@pytest.mark.parametrize("star", ["*a", "**/a", "a*", "?*"])
def test_forty_stars(tmp_path, star):
    (tmp_path / ("a" * 200)).touch()
    assert files_in(tmp_path, [star * 40 + "b"]) == ["a" * 200]


def test_names_that_are_not_utf_8(tmp_path):
    for name in (b"caf\xe9", b"caf\xe8", b"\xff\xfe", "café".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (tmp_path / ".dockerignore").write_bytes(b"caf\xe9\n")
    left = [os.fsencode(name) for name in files_in(tmp_path, ignored(tmp_path, ""))]
    assert sorted(left) == sorted([b".dockerignore", b"caf\xe8", b"\xff\xfe", "café".encode()])
    assert BuildContexts().digest({"context": str(tmp_path), "dockerfile_inline": "FROM a"})


def test_a_pattern_that_is_none_is_told(tmp_path):
    with pytest.raises(DefinitionError, match=r"\.dockerignore: '\[z-a\]'"):
        files_in(tmp_path, ["[z-a]"])


@pytest.mark.parametrize("context", ["/proc", "/sys", "/proc/1", "/dev/pts"])
def test_what_the_kernel_says_is_no_context(context):
    with pytest.raises(DefinitionError, match="what the kernel says"):
        files_in(Path(context), [])


def test_so_many_files_that_there_is_no_end(tmp_path, monkeypatch):
    monkeypatch.setattr(context_files, "MOST_ENTRIES", 10)
    for number in range(11):
        (tmp_path / str(number)).touch()
    with pytest.raises(DefinitionError, match="more than 10 files"):
        files_in(tmp_path, ["*"])


def test_links_are_not_followed(tmp_path):
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert files_in(tmp_path, []) == ["loop", "pipe", "self", "zero"]
    assert BuildContexts().digest({"context": str(tmp_path), "dockerfile_inline": "FROM a"})


def test_a_terabyte_of_nothing_is_not_read(tmp_path):
    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 1 << 40)
    build = {"context": str(tmp_path), "dockerfile_inline": "FROM a"}
    with pytest.raises(DefinitionError, match=r"more than 8 GiB, with big"):
        BuildContexts().digest(build)
    (tmp_path / ".dockerignore").write_text("big\n")
    assert BuildContexts().digest(build)


def test_a_context_that_is_larger_than_allowed(tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 600)
    build = {"context": str(tmp_path), "dockerfile_inline": "FROM a"}
    assert BuildContexts(600).digest(build)
    with pytest.raises(DefinitionError, match="more than 599 bytes, with one"):
        BuildContexts(599).digest(build)


def test_a_file_that_grows_is_read_as_far_as_it_was(tmp_path):
    """Some of the kernel's say that they are empty, and never end."""
    with (tmp_path / "x").open("wb") as file:
        file.write(b"x" * 1000)
    from moorage.adapters.build_context import _digest_of

    with (tmp_path / "x").open("rb") as file:
        assert _digest_of(file, 10) == __import__("hashlib").sha256(b"x" * 10).digest()
