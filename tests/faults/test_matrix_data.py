"""The same matrix around a PostgreSQL: whatever a change or a rollback meets, every row that was committed is there."""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT, run_in
from tests.faults.test_matrix import Case, forget, run_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.stage import Stage

pytestmark = [pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(900)]

ROWS = 20


@pytest.fixture(scope="session")
def postgres_image() -> str:
    """The official one, or its stand-in."""
    said = subprocess.run([ROOT / "scripts" / "base-images", "env"], capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line and not line.startswith("#"))
    return found["POSTGRES_IMAGE"]


@pytest.fixture
def database(stage: Stage, postgres_image: str) -> Callable[[int], None]:
    """Writes the definition of a version; the stage's state has the rows of the table `kept`."""

    def write(version: int) -> None:
        db = {
            "image": postgres_image,
            "volumes": ["data:/var/lib/postgresql/data"],
            "environment": {"POSTGRES_PASSWORD": "secret", "VERSION": str(version)},
            "stop_grace_period": "0s",  # killed, not asked: only what it had written down survives
        }
        stage.define(db=db)

    stage.rows = lambda: rows_of(stage)
    return write


def sql(stage: Stage, statement: str) -> str:
    """What psql says in the running database."""
    container = stage.client.containers.get(f"{stage.name}-db-1")
    return run_in(container, "psql", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-tAc", statement)


def rows_of(stage: Stage) -> Any:
    """All rows of the table. None: no database runs."""
    found = stage.world.engine.containers(stage.name, "db")
    if not found or found[0].state != "running":
        return None
    return sql(stage, "SELECT n FROM kept ORDER BY n").split()


def fill(stage: Stage) -> None:
    """Rows that no other round has."""
    sql(stage, "CREATE TABLE kept (n int)")
    sql(stage, "INSERT INTO kept VALUES " + ", ".join(f"({random.randrange(1 << 30)})" for _ in range(ROWS)))


def test_up_of_a_change(stage, database, record_property):
    def prepare():
        stage.rows = lambda: None
        forget(stage)
        database(1)
        stage.do("up")
        fill(stage)
        stage.rows = lambda: rows_of(stage)
        database(2)

    case = Case(stage, "up", prepare, commits=True)
    assert len(case.before["rows"]) == ROWS
    run_matrix(case, "up (change), PostgreSQL", record_property)


def test_rollback(stage, database, record_property):
    def prepare():
        if stage.world.store.stack(stage.name) is None:
            stage.rows = lambda: None
            database(1)
            stage.do("up")
            fill(stage)
            stage.rows = lambda: rows_of(stage)
            database(2)
            stage.do("up")
        else:
            stage.do("rollback", to=2)

    case = Case(stage, "rollback", prepare, commits=True, to=1)
    assert len(case.before["rows"]) == ROWS
    run_matrix(case, "rollback, PostgreSQL", record_property)
