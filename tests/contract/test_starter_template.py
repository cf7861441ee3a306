"""`init --template` and the example: what they promise, as Compose reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.cli import call
from moorage.model.definition import Source
from moorage.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "commandcenter"


def written(folder: Path) -> Path:
    (folder / "backend").mkdir()
    (folder / "backend" / "requirements.txt").write_text("fastapi\nuvicorn\n")
    (folder / "backend" / "main.py").write_text("app = None\n")
    (folder / "frontend").mkdir()
    (folder / "frontend" / "package.json").write_text('{"scripts": {"start": "node server.mjs"}}')
    assert call(["init", str(folder), "--template", "commandcenter"]) == 0
    return folder


@pytest.fixture(params=["template", "example"])
def project(request, tmp_path):
    return written(tmp_path) if request.param == "template" else EXAMPLE


def test_what_the_files_promise(project):
    files = (project / "compose.yaml", project / "compose.live.yaml")
    compose = ComposeCli(Settings())
    plain = compose.config(Source(directory=project, files=files[:1]), "x", {})
    assert set(plain["services"]) == {"postgres", "redis", "backend", "frontend"}
    for service in plain["services"].values():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["healthcheck"]["test"]
        waits = (service.get("depends_on") or {}).values()
        assert {one["condition"] for one in waits} <= {"service_healthy"}
    assert plain["services"]["redis"]["volumes"][0]["source"] == "redis-data"
    live = compose.config(Source(directory=project, files=files), "x", {})
    mounts = [mount for name in ("backend", "frontend") for mount in live["services"][name]["volumes"]]
    assert any(mount["type"] == "bind" and str(project) in mount["source"] for mount in mounts)


def test_images_and_containers_are_found_by_a_label(tmp_path):
    config = ComposeCli(Settings()).config(Source(directory=written(tmp_path)), "x", {})
    assert all("commandcenter" in service["labels"] for service in config["services"].values())
    for name in ("backend", "frontend"):
        assert config["services"][name]["build"]["labels"] == {"commandcenter": name}
        assert "LABEL commandcenter=" in (EXAMPLE / name / "Dockerfile").read_text()
