"""What has to be imported anew."""

from __future__ import annotations

import os

import pytest

from moorage.hub import code_state


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("flows", "tasks", "blocks", "moorage"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "one.py").write_text("1")
        (tmp_path / name / "__pycache__").mkdir()
    (tmp_path / "requirements.lock").write_text("a==1\n")
    monkeypatch.setattr(code_state, "project_directory", lambda: tmp_path)
    monkeypatch.setattr(code_state.moorage, "__file__", str(tmp_path / "moorage" / "__init__.py"))
    return tmp_path


@pytest.mark.parametrize("where", ["moorage/deep/one.py", "flows/deep/one.py", "requirements.lock"])
def test_a_file_that_is_written_is_another_state(project, where):
    before = code_state.code_state()
    (project / where).write_text("22")
    assert code_state.code_state() != before


def test_so_is_one_that_comes_goes_or_only_looks_the_same(project):
    states = [code_state.code_state()]
    (project / "tasks" / "two.py").write_text("2")
    states.append(code_state.code_state())
    (project / "tasks" / "two.py").unlink()
    os.utime(project / "blocks" / "deep" / "one.py", (1, 1))
    states.append(code_state.code_state())
    assert len(set(states)) == 3


def test_what_python_writes_beside_it_is_not(project):
    before = code_state.code_state()
    (project / "flows" / "__pycache__" / "one.cpython-311.pyc").write_bytes(b"x")
    (project / "flows" / "notes.txt").write_text("x")
    assert code_state.code_state() == before
