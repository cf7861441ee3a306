"""docs/troubleshooting.md: every error, under its exit code."""

from __future__ import annotations

import inspect
import re

from moorage import cli, errors
from tests.architecture.house import ROOT

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text()
VERBS = {*cli._VERBS, "fleet", "hub"}


def sections():
    """Exit code → names of the errors described under it."""
    parts = re.split(r"^## Exit code (\d+):", TEXT, flags=re.MULTILINE)
    bodies = zip(map(int, parts[1::2]), (body.split("\n## ")[0] for body in parts[2::2]), strict=True)
    return {code: re.findall(r"^### (\w+)$", body, re.MULTILINE) for code, body in bodies}


def test_every_error_is_described_under_its_exit_code():
    known: dict[int, set[str]] = {0: set()}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.MoorageError):
            known.setdefault(kind.exit_code, set()).add(name)
    assert {code: set(names) for code, names in sections().items()} == known
    described = [name for names in sections().values() for name in names]
    assert len(described) == len(set(described))


def test_no_error_is_described_by_its_name_alone():
    for body in re.split(r"^### \w+$", TEXT, flags=re.MULTILINE)[1:]:
        assert len(body.split("\n## ")[0].split()) > 15


def test_commands_of_the_documents_exist():
    for document in ("troubleshooting.md", "operating.md"):
        text = (ROOT / "docs" / document).read_text()
        code = re.findall(r"`([^`\n]+)`", re.sub(r"^```", "", text, flags=re.MULTILINE)) + re.findall(
            r"^(?:eval \"\$\()?(moorage .*)$", text, re.MULTILINE
        )
        named = {found[1] for one in code if (found := re.match(r"moorage ([a-z]+)", one))}
        assert named
        assert named - VERBS == set(), document
