"""Images of projects without a Dockerfile: which recipe to use, and the Dockerfile that it produces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from moorage.errors import DefinitionError
from moorage.model.definition import Config
from moorage.model.image import Recipe, Survey
from moorage.rules import labels
from moorage.rules.reading import unescaped

Look = Callable[[Path], Survey | None]

_PIP = ("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore")
_OF_PYPROJECT = (
    "import subprocess, sys, tomllib; "
    "wanted = tomllib.load(open('pyproject.toml', 'rb')).get('project', {}).get('dependencies', []); "
    "sys.exit(subprocess.call([*sys.argv[1:], *wanted]) if wanted else 0)"
)
_PYTHON_USER = "10001:10001"
"""Official Python images have no non-root user; numeric ids need no entry in /etc/passwd."""


def fill_in(config: Config, look: Look) -> None:
    """Give each `build` section without a Dockerfile the one of the recipe for its project.

    Sections with a Dockerfile, as a file or inline, stay as they are, and so do projects without a recipe: the builder
    reports what is missing. Raises DefinitionError: there is a recipe, but nothing says what to run.
    """
    for name, service in (config.get("services") or {}).items():
        recipe = _recipe(name, service, look)
        if recipe:
            build = service["build"]
            build.pop("dockerfile", None)
            build["dockerfile_inline"] = dockerfile(recipe).replace("$", "$$")
            build["labels"] = {**(build.get("labels") or {}), labels.TEMPLATE: recipe.kind}


def recipe_of(service: Config, look: Look) -> Recipe | None:
    """The recipe that `fill_in` has used for a service. None: it has a Dockerfile."""
    build = service.get("build") or {}
    if labels.TEMPLATE not in (build.get("labels") or {}):
        return None
    seen = look(Path(str(build.get("context"))))
    return fitting(seen, commanded=bool(service.get("command"))) if seen else None


def _recipe(name: str, service: Config, look: Look) -> Recipe | None:
    build = service.get("build") or {}
    context = str(unescaped(build.get("context", "")))
    if not context.startswith("/") or "dockerfile_inline" in build:
        return None
    if build.get("dockerfile") not in (None, "Dockerfile") or not (seen := look(Path(context))):
        return None
    recipe = fitting(seen, commanded=bool(service.get("command")))
    if recipe and not recipe.command and not service.get("command"):
        where = f"services.{name}.command"
        message = f"{where}: {context} has no Dockerfile, and nothing in it says what to run"
        hint = "Give the service a `command`, a Python project a main.py, package.json a `start` script."
        raise DefinitionError(message, service=name, key=where, file=context, hint=hint)
    return recipe


def fitting(seen: Survey, *, commanded: bool = False) -> Recipe | None:
    """The recipe for a project. None: there is no recipe for it. `commanded`: the definition says what to run."""
    if "package.json" in seen.names:
        return _node(seen)
    if {"requirements.txt", "pyproject.toml"} & set(seen.names):
        return _python(seen, commanded=commanded)
    return None


def _python(seen: Survey, *, commanded: bool) -> Recipe:
    listed = "requirements.txt" in seen.names
    install = (*_PIP, "-r", "requirements.txt") if listed else ("python", "-c", _OF_PYPROJECT, *_PIP)
    return Recipe(
        kind="python",
        base="python:3.12-slim",
        base_argument="PYTHON_IMAGE",
        environment={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        manifests=("requirements.txt",) if listed else ("pyproject.toml",),
        install=install,
        cache="/root/.cache/pip",
        names=seen.names,
        user=_PYTHON_USER,
        port=8000,
        command=() if commanded else _python_command(seen),
    )


def _python_command(seen: Survey) -> tuple[str, ...]:
    """The command of a Python project: uvicorn if it is a dependency, else its main module. Empty: not known."""
    wanted = seen.texts.get("requirements.txt", "") + seen.texts.get("pyproject.toml", "")
    packages = sorted(name.partition("/")[0] for name in seen.texts if name.endswith("/main.py"))
    modules = [f"{packages[0]}.main"] if packages else []
    modules += [name.removesuffix(".py") for name in ("main.py", "app.py") if name in seen.names]
    if modules and re.search(r"\b(uvicorn|fastapi|starlette)\b", wanted):
        return ("python", "-m", "uvicorn", f"{modules[0]}:app", "--host", "0.0.0.0", "--port", "8000")  # noqa: S104
    runnable = sorted(name.partition("/")[0] for name in seen.texts if name.endswith("/__main__.py"))
    if "manage.py" in seen.names:
        return ("python", "manage.py", "runserver", "0.0.0.0:8000")
    module = next(iter([*runnable, *modules]), None)
    return ("python", "-m", module) if module else ()


def _node(seen: Survey) -> Recipe:
    try:
        package = json.loads(seen.texts.get("package.json", "{}"))
    except ValueError:
        package = {}
    scripts = package.get("scripts") or {} if isinstance(package, dict) else {}
    locked = "package-lock.json" in seen.names
    return Recipe(
        kind="node",
        base="node:24-slim",
        base_argument="NODE_IMAGE",
        environment={},
        manifests=("package.json", "package-lock.json") if locked else ("package.json",),
        install=("npm", "ci" if locked else "install", "--no-audit", "--no-fund", "--loglevel=error"),
        cache="/root/.npm",
        build=("npm", "run", "build") if "build" in scripts else (),
        names=seen.names,
        user="node",
        port=3000,
        command=("npm", "start") if "start" in scripts else (),
    )


def dockerfile(recipe: Recipe) -> str:
    """The recipe as a Dockerfile; builds with and without BuildKit."""
    lines = [
        f"ARG {recipe.base_argument}={recipe.base}",
        f"FROM ${{{recipe.base_argument}}}",
        *(f"ENV {name}={json.dumps(value)}" for name, value in recipe.environment.items()),
        f"WORKDIR {recipe.workdir}",
        f"COPY {json.dumps([*recipe.manifests, './'])}",
        f"RUN {json.dumps([*recipe.install])}",
        *_copies(recipe.names),
        *([f"RUN {json.dumps([*recipe.build])}"] if recipe.build else []),
        "ENTRYPOINT []",
        f"USER {recipe.user}",
        f"EXPOSE {recipe.port}",
        *([f"CMD {json.dumps([*recipe.command])}"] if recipe.command else []),
    ]
    return "\n".join(lines) + "\n"


def _copies(names: Iterable[str]) -> Iterable[str]:
    """A line for all files, and one for each folder: COPY copies a folder's content, not the folder itself."""
    files = [name for name in names if not name.endswith("/")]
    if files:
        yield f"COPY {json.dumps([*map(_literal, files), './'])}"
    for name in names:
        if name.endswith("/"):
            yield f"COPY {json.dumps([_literal(name.rstrip('/')), './' + _no_variable(name)])}"


def _literal(name: str) -> str:
    """A name escaped for COPY: its wildcards are those of Go's filepath.Match, and `$` begins a variable."""
    return _no_variable(re.sub(r"([*?\[])", r"[\1]", name))


def _no_variable(name: str) -> str:
    return name.replace("$", "\\$")
