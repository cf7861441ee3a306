"""What the documents and the lock file promise."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.architecture.house import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "examples/*/README.md")


def _documents() -> dict[str, str]:
    files = sorted(file for pattern in DOCUMENTS for file in ROOT.glob(pattern))
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


def _code(text: str) -> str:
    """What stands in a document as code: fenced blocks and `inline`."""
    fenced = re.findall(r"^```(?:sh|console|bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", rest)])


def _tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


# --- commands ------------------------------------------------------------------------------------------------


def test_make_targets_of_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):(?:.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (document, target)
        for document, text in _documents().items()
        for target in re.findall(r"^(?:.*&& )?make ([a-z][a-z-]*)", _code(text), re.MULTILINE)
    }
    assert named
    assert {(document, target) for document, target in named if target not in targets} == set()


def test_make_targets_of_ci_exist():
    targets = set(re.findall(r"^([a-z-]+):(?:.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / ".ci" / "run").read_text() + (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    named = set(re.findall(r"^\s*(?:- run: )?make ([a-z-]+)", text, re.MULTILINE))
    assert {"check", "wheel", "packaging", "test"} <= named <= targets


def test_verbs_of_the_readme_exist():
    named = set(re.findall(r"^moorage ([a-z]+)", _code((ROOT / "README.md").read_text()), re.MULTILINE))
    assert named
    assert {verb for verb in named if not (ROOT / "moorage" / "cli" / f"{verb}.py").is_file()} == set()


def test_links_between_documents_lead_somewhere():
    broken = [
        f"{document}: {link}"
        for document, text in _documents().items()
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        if not (ROOT / document).parent.joinpath(link).exists()
    ]
    assert broken == []


def test_tests_that_the_documents_name_exist():
    named = {
        (document, file, name)
        for document, text in _documents().items()
        for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    }
    assert any(document == "docs/security.md" and name for document, _, name in named)
    gone = [
        f"{document}: {file}::{name}"
        for document, file, name in named
        if not (ROOT / file).is_file() or f"def {name}" not in (ROOT / file).read_text()
    ]
    assert gone == []


def test_every_make_target_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for name in line.split()}
    told = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert phony == told


# --- nothing of one machine ----------------------------------------------------------------------------------


def _machine_words() -> set[str]:
    """Where this checkout lies, whose home it is, and which package indexes this machine uses."""
    ordinary = {Path("/"), Path("/home"), Path("/opt"), Path("/srv"), Path("/tmp"), Path("/root"), Path("/usr/src")}
    places = {ROOT} | {place for place in (ROOT.parent, Path.home()) if place not in ordinary}
    return {f"{place}/" for place in places} | _index_hosts()


def _index_hosts() -> set[str]:
    settings = [value for name, value in os.environ.items() if name.upper().endswith(("INDEX_URL", "REGISTRY"))]
    for file in ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf", os.environ.get("PIP_CONFIG_FILE", "")):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(Path(file).expanduser())
        settings += [
            value for section in parser.values() for key, value in section.items() if key.endswith("index-url")
        ]
    hosts = {host for value in settings for host in re.findall(r"https?://(?:[^@/\s]*@)?([^/:\s]+)", value)}
    return hosts - {"pypi.org", "registry.npmjs.org", "localhost", "127.0.0.1"}


def test_no_tracked_file_names_this_machine():
    # `moorage/work/runs/run.py` is a path of ours, not of a machine: what comes before must not be a name.
    words = re.compile("|".join(rf"(?<![\w.-]){re.escape(word)}" for word in sorted(_machine_words())).encode())
    assert [str(file.relative_to(ROOT)) for file in _tracked() if words.search(file.read_bytes())] == []


# --- the lock files ------------------------------------------------------------------------------------------

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _locked() -> dict[str, list[Requirement]]:
    """By name; several where the version depends on the platform."""
    locked: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^[a-z0-9][^\\\n]*", LOCK, re.MULTILINE):
        requirement = Requirement(line.strip())
        locked.setdefault(requirement.name.lower(), []).append(requirement)
    return locked


def test_lock_has_no_address():
    assert re.findall(r"://|^--(?!hash)|/tmp|file:", LOCK, re.MULTILINE) == []


def test_lock_has_a_hash_for_each_requirement():
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert len(blocks) == sum(map(len, _locked().values()))


@pytest.mark.parametrize(
    "wanted",
    [
        *PROJECT["project"]["dependencies"],
        *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra),
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    ],
)
def test_lock_satisfies_pyproject(wanted):
    requirement = Requirement(wanted)
    locked = _locked()[re.sub(r"[-_.]+", "-", requirement.name).lower()]
    versions = [next(iter(one.specifier)).version for one in locked]
    assert versions
    assert all(requirement.specifier.contains(version, prereleases=True) for version in versions)


def test_npm_locks_have_no_address():
    """Without `resolved`, npm takes the registry that it is configured for."""
    for file in _tracked():
        if file.name == "package-lock.json":
            packages = json.loads(file.read_text())["packages"]
            assert [name for name, package in packages.items() if "resolved" in package] == []
            assert [name for name, package in packages.items() if name and "integrity" not in package] == []
