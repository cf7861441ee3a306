"""`moorage hub backup` and `restore`: copied while it runs, checked, and back again."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from moorage.hub import api
from tests.orchestrated.conftest import OwnHub, address_in, hub

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]


def names(status: dict[str, Any]) -> set[str]:
    found = api.call(address_in(status), "POST", "/variables/filter", {})
    return {one["name"] for one in found}


def add(status: dict[str, Any], name: str) -> None:
    api.call(address_in(status), "POST", "/variables/", {"name": name, "value": 1})


@pytest.mark.exhaustive
def test_history_is_saved_while_it_runs_and_brought_back(own: OwnHub, tmp_path: Path) -> None:
    def run(*args: str, exit_code: int = 0) -> str:
        done = hub(*args, home=own.home, exit_code=exit_code, **own.env)
        return done.stdout + done.stderr

    assert own.serve().returncode == 0
    status = own.status()
    add(status, "kept")
    saved = tmp_path / "saved.db"
    assert str(saved) in run("backup", str(saved))
    assert saved.stat().st_mode & 0o077 == 0
    assert "already exists" in run("backup", str(saved), exit_code=2)
    own_place = Path(run("backup").strip())
    assert own_place.parent == own.folder.path / "backups"
    add(status, "later")
    assert "Stop it first: `moorage hub stop`" in run("restore", str(saved), exit_code=8)
    own.stop()
    damaged, foreign = tmp_path / "damaged.db", tmp_path / "foreign.db"
    content = bytearray(saved.read_bytes())
    content[4096 * 3 : 4096 * 40] = bytes(4096 * 37)
    damaged.write_bytes(content)
    sqlite3.connect(foreign).execute("CREATE TABLE t (x)").connection.close()
    for wrong, said in (
        (damaged, "damaged"),
        (foreign, "not a database of a Prefect server"),
        (tmp_path / "no", "no such"),
    ):
        assert said in run("restore", str(wrong), exit_code=2)
    said = run("restore", str(saved))
    assert "the previous history is now " in said
    assert own.serve().returncode == 0
    assert names(own.status()) == {"kept"}
