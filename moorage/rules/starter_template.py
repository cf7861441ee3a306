"""The template `commandcenter`: PostgreSQL, Redis, and the project's own back end and front end."""

from __future__ import annotations

import json
from collections.abc import Mapping

from moorage.errors import DefinitionError
from moorage.model.image import Recipe, Survey
from moorage.rules import templates

_SERVICE = """
  {name}:
    <<: *service
    build:
      context: {context}
      args: {{{argument}: "${{{argument}:-{base}}}"}}
      labels: {{commandcenter: {name}}}
    labels: {{commandcenter: {name}}}
    depends_on:
{depends_on}
    environment:
{environment}
    ports: ["${{{port_variable}:-{port}}}:{port}"]
    healthcheck:
      # It listens. Better: ask it for a page that says that it can work.
      test: {check}
      interval: 5s
      start_period: 30s
    deploy:
      resources:
        limits: {{cpus: "1.0", memory: 512M}}
"""
_LIVE = """# While you write: your files in place of the images' copies, beside compose.yaml.
#
#   moorage up -f compose.yaml -f compose.live.yaml
#
# What is installed stays the image's. A program that reloads itself sees each change at once (a `command` with
# `--reload`, for one); else `moorage restart SERVICE`.

services:
"""
_LIVE_SERVICE = """  {name}:
    volumes:
      - ./{context}:{workdir}
"""
_INSTALLED = {"node": "node_modules"}
"""Kind of project → folder in the project that the image has its own of: an anonymous volume keeps it."""
_CHECKS = {
    "python": ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', {port}), 2)"],
    "node": [
        "node",
        "-e",
        "require('net').connect({port}, '127.0.0.1').on('connect', () => process.exit(0));",
    ],
}
_OF_BACKEND = {
    "POSTGRES_HOST": "postgres",
    "POSTGRES_USER": "app",
    "POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:-app}",
    "POSTGRES_DB": "app",
    "REDIS_URL": "redis://redis:6379/0",
}
_IGNORED = ".git\n.env\n.env.*\n.venv\nvenv\n**/__pycache__\n**/node_modules\n"
_NEXT = "Create backend/requirements.txt (or pyproject.toml), frontend/package.json or both, and run it again."


def files(seen: Mapping[str, Survey | None], base: str) -> dict[str, str]:
    """Path → text: the files of the template for a project.

    `base`: the compose file to which the project's services are added. `seen`: what lies in `backend` and `frontend`,
    and in `.`, which counts where neither is a project; None: nothing, or it has a Dockerfile already. Raises
    DefinitionError: there is nothing to build.
    """
    recipes = {name: recipe for name, one in seen.items() if one and (recipe := templates.fitting(one))}
    if {"backend", "frontend"} & set(recipes):
        recipes.pop(".", None)
    if not recipes:
        message = (
            "the template commandcenter found nothing to build: neither here nor in backend or frontend is there a "
            "requirements.txt, pyproject.toml or package.json (a folder with a Dockerfile is left alone)"
        )
        raise DefinitionError(message, hint=_NEXT)
    services = {name if name != "." else _name_of(recipe): (name, recipe) for name, recipe in recipes.items()}
    written = {"compose.yaml": _compose(base, services), "compose.live.yaml": _live(services)}
    for folder, recipe in recipes.items():
        inside = "" if folder == "." else f"{folder}/"
        written[f"{inside}Dockerfile"] = templates.dockerfile(recipe)
        written[f"{inside}.dockerignore"] = _IGNORED
    return written


def _name_of(recipe: Recipe) -> str:
    return "backend" if recipe.kind == "python" else "frontend"


def _compose(base: str, services: Mapping[str, tuple[str, Recipe]]) -> str:
    text, volumes, names = base.partition("\nvolumes:\n")
    for name, (folder, recipe) in services.items():
        front = name == "frontend"
        waits = ["      backend: {condition: service_healthy}"] if front and "backend" in services else []
        waits = waits or [f"      {one}: {{condition: service_healthy}}" for one in ("postgres", "redis")]
        environment = {"API_URL": "http://localhost:${BACKEND_PORT:-8000}"} if front else _OF_BACKEND
        text += _SERVICE.format(
            name=name,
            context=folder,
            argument=recipe.base_argument,
            base=recipe.base,
            depends_on="\n".join(waits),
            environment="\n".join(f"      {key}: {value}" for key, value in environment.items()),
            port_variable=f"{name.upper()}_PORT",
            port=recipe.port,
            check=json.dumps(["CMD", *(part.replace("{port}", str(recipe.port)) for part in _CHECKS[recipe.kind])]),
        )
    return f"{text}{volumes}{names}"


def _live(services: Mapping[str, tuple[str, Recipe]]) -> str:
    text = _LIVE
    for name, (folder, recipe) in services.items():
        text += _LIVE_SERVICE.format(name=name, context="" if folder == "." else folder, workdir=recipe.workdir)
        if installed := _INSTALLED.get(recipe.kind):
            text += f"      - {recipe.workdir}/{installed}\n"
    return text
