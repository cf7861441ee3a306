"""The template `commandcenter`: PostgreSQL, Redis, and the project's own back end and front end."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.errors import DefinitionError
from moorage.model.image import Recipe, Survey
from moorage.rules import templates

_SERVICE = """
  {name}:
    build:
      context: {context}
      args: {{{argument}: "${{{argument}:-{base}}}"}}
    init: true
    depends_on:
{depends_on}
    environment:
{environment}
    ports: ["${{{port_variable}:-{port}}}:{port}"]
"""
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
        message = "the template commandcenter found no project without a Dockerfile here"
        raise DefinitionError(message, hint=_NEXT)
    services = {name if name != "." else _name_of(recipe): (name, recipe) for name, recipe in recipes.items()}
    written = {"compose.yaml": _compose(base, services)}
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
        waits = ["      backend: {condition: service_started}"] if front and "backend" in services else []
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
        )
    return f"{text}{volumes}{names}"
