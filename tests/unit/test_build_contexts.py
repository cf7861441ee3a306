"""What a build's digest is of: all that goes into the image, and not where it lies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.build_context import BuildContexts
from moorage.errors import DefinitionError

Change = Callable[[Path, dict[str, Any]], None]


def laid_out(folder: Path) -> dict[str, Any]:
    """A project: a context, a Dockerfile outside of it, another context; gives its `build` section."""
    for name, text in {
        "app/Dockerfile": "FROM a\n",
        "app/main.py": "print(1)\n",
        "app/.dockerignore": "*.log\n",
        "app/x.log": "1",
        "more/lib.py": "",
        "docker/Dockerfile": "FROM b\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {
        "context": str(folder / "app"),
        "dockerfile": "../docker/Dockerfile",
        "additional_contexts": {"more": str(folder / "more"), "base": "service:base"},
        "args": {"A": "1"},
        "secrets": [{"source": "token"}],
        "target": "last",
        "platform": "linux/amd64",
        "labels": {"l": "1"},
        "tags": ["x:2"],
    }


def written(name: str, text: str = "changed") -> Change:
    return lambda folder, _build: (folder / name).write_text(text) and None


def told(**keys: Any) -> Change:
    return lambda _folder, build: build.update(keys)


GOES_IN: dict[str, Change] = {
    "a file": written("app/main.py"),
    "a new file": written("app/new.py"),
    "a file that goes": lambda folder, _build: (folder / "app/main.py").unlink(),
    "a mode": lambda folder, _build: (folder / "app/main.py").chmod(0o755),
    "a link": lambda folder, _build: (folder / "app/link").symlink_to("main.py"),
    "a file with a name that is not UTF-8": lambda folder, _build: Path(
        os.fsdecode(os.fsencode(folder) + b"/app/\xe9")
    ).touch(),
    "the Dockerfile outside of the context": written("docker/Dockerfile"),
    "an additional context": written("more/lib.py"),
    "additional contexts": told(additional_contexts={"base": "service:base"}),
    "which service's image": lambda _folder, build: build["additional_contexts"].update(base="service:other"),
    "an argument": told(args={"A": "2"}),
    "a secret's name": told(secrets=[{"source": "other"}]),
    "the target": told(target="first"),
    "the platform": told(platform="linux/arm64"),
    "platforms": told(platforms=["linux/arm64"]),
    "a label": told(labels={"l": "2"}),
    "another Dockerfile": told(dockerfile="Dockerfile"),
    "an inline Dockerfile": told(dockerfile_inline="FROM c\n"),
    "tags": told(tags=["x:3"]),
    "network": told(network="host"),
}
DOES_NOT: dict[str, Change] = {
    "an ignored file": written("app/x.log"),
    "the time of a file": lambda folder, _build: os.utime(folder / "app/main.py", (1, 1)),
    "cache_from": told(cache_from=["x"]),
    "cache_to": told(cache_to=["x"]),
    "no_cache": told(no_cache=True),
    "pull": told(pull=True),
    "where the agent's socket is": told(ssh=["default"]),
    "a file beside the context": written("docker/other"),
    "the order of keys": lambda _folder, build: build.update(target=build.pop("target")),
}


@pytest.mark.parametrize("change", [*GOES_IN, *DOES_NOT])
def test_the_digest_changes_with_what_goes_in(tmp_path, change):
    build = laid_out(tmp_path)
    before = BuildContexts().digest(build)
    (GOES_IN | DOES_NOT)[change](tmp_path, build)
    assert (BuildContexts().digest(build) != before) == (change in GOES_IN)


def test_two_copies_of_a_project_have_one_digest(tmp_path):
    first, second = laid_out(tmp_path / "one"), laid_out(tmp_path / "two")
    assert BuildContexts().digest(first) == BuildContexts().digest(second)
    for build in (first, second):
        build["dockerfile"] = str(Path(build["context"]).parent / "docker/Dockerfile")
    assert BuildContexts().digest(first) == BuildContexts().digest(second)


def test_the_same_reader_sees_a_change(tmp_path):
    """It remembers what it has read."""
    contexts, build = BuildContexts(), laid_out(tmp_path)
    before = contexts.digest(build)
    (tmp_path / "app/main.py").write_text("print(2)\n")
    assert contexts.digest(build) != before


def test_the_text_of_the_dockerfile(tmp_path):
    build = laid_out(tmp_path)
    assert BuildContexts().dockerfile(build) == "FROM b\n"
    assert BuildContexts().dockerfile({**build, "dockerfile_inline": "FROM c"}) == "FROM c"
    assert BuildContexts().dockerfile({"context": "https://example.org/x.git"}) == ""


@pytest.mark.parametrize(
    ("gone", "key"),
    [("app", "build.context"), ("docker", "build.dockerfile"), ("more", "build.additional_contexts")],
)
def test_what_is_missing_is_named(tmp_path, gone, key):
    build = laid_out(tmp_path)
    shutil.rmtree(tmp_path / gone)
    with pytest.raises(DefinitionError, match=f"{key}: {tmp_path}/{gone}") as caught:
        BuildContexts().digest(build)
    assert caught.value.fields["key"] == key
