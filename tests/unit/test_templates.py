"""Which recipe fits a project without a Dockerfile, and what it runs."""

from __future__ import annotations

import json
import os

import pytest

from moorage.adapters.build_context import BuildContexts
from moorage.errors import DefinitionError
from moorage.model.image import Survey
from moorage.rules import starter_template, templates
from moorage.work.operations.init import template


def survey(*names, **texts):
    return Survey(names=names, texts={name.replace("_", "."): text for name, text in texts.items()})


def recipe(seen, **more):
    found = templates.fitting(seen, **more)
    assert found is not None
    return found


def test_no_recipe_for_what_we_do_not_know():
    assert templates.fitting(survey("go.mod", "main.go")) is None


@pytest.mark.parametrize(
    ("names", "texts", "command"),
    [
        (["requirements.txt", "app/"], {"requirements.txt": "fastapi==1\n", "app/main.py": ""}, "uvicorn app.main:app"),
        (["requirements.txt", "main.py"], {"requirements.txt": "uvicorn\n", "main.py": ""}, "uvicorn main:app"),
        (["requirements.txt", "main.py"], {"requirements.txt": "requests\n", "main.py": ""}, "main"),
        (["pyproject.toml", "shop/"], {"pyproject.toml": "", "shop/__main__.py": ""}, "shop"),
        (["requirements.txt", "app.py"], {"requirements.txt": "flask", "app.py": ""}, "app"),
    ],
)
def test_what_a_python_project_runs(names, texts, command):
    assert " ".join(recipe(Survey(names=names, texts=texts)).command).startswith(f"python -m {command}")


def test_django():
    seen = Survey(names=["manage.py", "requirements.txt"], texts={"requirements.txt": "django", "manage.py": ""})
    assert recipe(seen).command[:2] == ("python", "manage.py")


def test_dependencies_come_before_the_sources():
    text = templates.dockerfile(recipe(survey("app/", "requirements.txt", app_main="")))
    lines = text.splitlines()
    install = next(number for number, line in enumerate(lines) if line.startswith("RUN"))
    assert 'COPY ["requirements.txt", "./"]' in lines[:install]
    assert 'COPY ["app", "./app/"]' in lines[install:]
    assert lines[0] == "ARG PYTHON_IMAGE=python:3.12-slim"


def test_node_with_and_without_a_lock():
    package = json.dumps({"scripts": {"start": "x"}})
    assert recipe(survey("package.json", package_json=package)).install[:2] == ("npm", "install")
    locked = recipe(survey("package-lock.json", "package.json", package_json=package))
    assert locked.install[:2] == ("npm", "ci")
    assert locked.build == ()
    assert recipe(survey("package.json", package_json="[broken")).command == ()


def filled(tmp_path, **service):
    config = {"services": {"web": {"build": {"context": str(tmp_path)}, **service}}}
    templates.fill_in(config, BuildContexts().survey)
    return config["services"]["web"]


def test_a_dockerfile_of_one_s_own_is_left_alone(tmp_path):
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "Dockerfile").write_text("FROM x")
    assert filled(tmp_path) == {"build": {"context": str(tmp_path)}}
    (tmp_path / "Dockerfile").unlink()
    for build in ({"dockerfile": "Other"}, {"dockerfile_inline": "FROM x"}):
        config = {"services": {"web": {"build": {"context": str(tmp_path), **build}}}}
        templates.fill_in(config, BuildContexts().survey)
        assert config["services"]["web"]["build"] == {"context": str(tmp_path), **build}


def test_nothing_says_what_to_run(tmp_path):
    (tmp_path / "requirements.txt").write_text("requests\n")
    with pytest.raises(DefinitionError, match=r"services\.web\.command: .* nothing in it says what to run"):
        filled(tmp_path)
    service = filled(tmp_path, command=["python", "-V"])
    assert "CMD" not in service["build"]["dockerfile_inline"]
    assert service["build"]["labels"] == {"moorage.template": "python"}


def test_what_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "requirements.txt")
    os.mkfifo(tmp_path / ".dockerignore")
    (tmp_path / "package.json").symlink_to("/dev/zero")
    with pytest.raises(DefinitionError, match="says what to run"):
        filled(tmp_path)


def test_a_folder_that_is_not_there_is_somebody_else_s_complaint(tmp_path):
    config = {"services": {"web": {"build": {"context": str(tmp_path / "gone")}}}}
    templates.fill_in(config, BuildContexts().survey)
    assert "dockerfile_inline" not in config["services"]["web"]["build"]


def test_commandcenter_has_what_the_project_has():
    back = survey("requirements.txt", "main.py", main_py="")
    front = survey("package.json", package_json=json.dumps({"scripts": {"start": "x"}}))
    written = starter_template.files({"backend": back, "frontend": front, ".": front}, template("commandcenter"))
    assert sorted(written) == [
        "backend/.dockerignore",
        "backend/Dockerfile",
        "compose.live.yaml",
        "compose.yaml",
        "frontend/.dockerignore",
        "frontend/Dockerfile",
    ]
    assert "backend: {condition: service_healthy}" in written["compose.yaml"]
    lines = [line for line in written["compose.yaml"].splitlines() if line and line[0] not in " #"]
    assert lines == ["x-service: &service", "services:", "volumes:"], (
        "the project's services are among those of the template"
    )
    text = written["compose.yaml"].partition("\nservices:\n")[2]
    services = [line.strip() for line in text.splitlines() if line[:3].strip() and line[0] == " "]
    assert services == ["postgres:", "redis:", "backend:", "frontend:", "postgres-data:", "redis-data:"]
    alone = starter_template.files({"backend": None, "frontend": None, ".": back}, template("commandcenter"))
    assert sorted(alone) == [".dockerignore", "Dockerfile", "compose.live.yaml", "compose.yaml"]
    assert "context: .\n" in alone["compose.yaml"]
    with pytest.raises(DefinitionError, match="found nothing to build"):
        starter_template.files({"backend": None, "frontend": None, ".": survey("README.md")}, "")
