"""A run that is handed over to the hub's worker is done on the engine that the shell names, or not at all."""

from __future__ import annotations

import pytest

from moorage.cli import detached
from moorage.errors import OtherEngineError
from moorage.hub import hub_home, process
from moorage.hub.hub_home import WorkerRecord
from moorage.settings import settings


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Puts a worker on record, with these variables."""
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path))
    settings.cache_clear()
    yield lambda engine: hub_home.hub_home().save_worker(
        WorkerRecord(process=process.NOBODY, api_url="http://127.0.0.1:1/api", version="1", engine=engine)
    )
    settings.cache_clear()


def test_the_same_engine(worker, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///one.sock")
    for engine in ({"DOCKER_HOST": "unix:///one.sock", "DOCKER_CONTEXT": "other"}, None):
        worker(engine)
        detached._check_engine()


def test_another_engine(worker, monkeypatch):
    worker({"DOCKER_HOST": "unix:///one.sock"})
    monkeypatch.setenv("DOCKER_HOST", "unix:///two.sock")
    with pytest.raises(OtherEngineError, match=r"worker uses the engine at unix:///one\.sock, and here unix:///two"):
        detached._check_engine()
