"""Requests: which definition, under which name. Lightweight, because verbs that only read import it too."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.base import Frozen
from moorage.model.definition import FILE_NAMES, Config, Source
from moorage.rules import labels, naming

_NAME_KEY = "COMPOSE_PROJECT_NAME"
_HASHED = re.compile("-[0-9a-f]{6}$")
"""The end of a name that another directory, or somebody else, had already."""


class UpRequest(Frozen):
    """What a person asks of `up`."""

    source: Source
    name: str | None = None
    """None: derived from the directory, the file's `name:` or the git worktree."""
    strict_ports: bool = False
    force_recreate: bool = False
    build: bool = False
    """Build images even if their sources have not changed."""
    builder: str | None = None
    """Who builds images. None: the setting, else `x-moorage.builder`, else Compose."""
    wait_timeout_s: float | None = None
    """Longest time for one service to become ready. None: what its check says."""
    keep_failed: bool = False
    """Keep a failed start as it is, for inspection."""
    ttl_s: float | None = None
    approve: bool = False
    """Show the plan and wait for somebody's consent before anything is done."""
    services: tuple[str, ...] = ()
    """Bring up these, with what they need; the others stay as they are. Empty: all."""
    no_deps: bool = False
    """Only the named services, not what they need."""
    scale: dict[str, int] = Field(default_factory=dict)
    """Service → number of its replicas, instead of what the definition says. Holds until the next start without it."""

    def on_record(self) -> dict[str, Any]:
        """As plain data, without the values of its variables: they may be secrets."""
        return self.model_dump(mode="json", exclude={"source": {"environment"}})


def parameters_of(request: UpRequest, ttl: str | None = None) -> dict[str, Any]:
    """The request as parameters of the flow `up`: plain values that Prefect can store and show."""
    return {
        "path": str(request.source.directory),
        "name": request.name,
        "files": [str(file) for file in request.source.files],
        "profiles": list(request.source.profiles),
        "env_files": [str(file) for file in request.source.env_files],
        "wait_timeout_s": request.wait_timeout_s,
        "on_failure": "keep" if request.keep_failed else "undo",
        "ttl": ttl,
        "strict_ports": request.strict_ports,
        "build": request.build,
        "builder": request.builder or "auto",
        "force_recreate": request.force_recreate,
        "services": list(request.services),
        "no_deps": request.no_deps,
        "scale": [f"{name}={number}" for name, number in request.scale.items()],
    }


def source_of(
    directory: Path | None, files: Sequence[str], profiles: Sequence[str], env_files: Sequence[str]
) -> Source:
    """The source that command-line options mean: paths made absolute, the project's directory found as Compose does."""
    here = Path.cwd()
    if not files and (named := os.environ.get("COMPOSE_FILE")):
        files = named.split(os.environ.get("COMPOSE_PATH_SEPARATOR", os.pathsep))
    paths = tuple((here / file) for file in files)
    if directory is None:
        directory = paths[0].parent if paths else _project_directory(here)
    directory = (here / directory).resolve()
    if not directory.is_dir():
        message = f"{directory}: no such directory"
        raise DefinitionError(message, file=str(directory), hint="Name one with --project-directory.")
    return Source(
        directory=directory,
        files=paths,
        profiles=tuple(profiles),
        env_files=tuple(here / file for file in env_files),
    )


def _project_directory(here: Path) -> Path:
    """Where the compose file is: the first directory upward that has one."""
    for folder in (here, *here.parents):
        if any((folder / name).is_file() for name in FILE_NAMES):
            return folder
    return here


def name_of(world: World, request: UpRequest, raw: Config) -> str:
    """The stack's name: asked for; else `COMPOSE_PROJECT_NAME`, the file's `name:`, the git worktree, the directory.

    A derived name that belongs to another directory gets a short hash of the path; an explicit one is an error then.
    """
    directory = request.source.directory
    if request.name is not None:
        name = naming.validate_name(request.name)
        if other := owner_elsewhere(world, name, directory):
            if world.store.stack(name) is None and is_plain_compose(world, name):
                raise not_ours(world, name)
            message = f"stack {name!r} belongs to {other}"
            raise DefinitionError(
                message, hint="Choose another --name, or remove that stack first with `moorage down`.", stack=name
            )
        return name
    name = _derived_name(world, request.source, raw)
    return naming.with_path_hash(name, directory) if owner_elsewhere(world, name, directory) else name


def _derived_name(world: World, source: Source, raw: Config) -> str:
    if name := _name_in_environment(world, source):
        return naming.validate_name(name)
    repository, branch, linked = world.place(source.directory)
    written = raw.get("name")
    if written and "$" in str(written):
        written = world.compose.interpolate(source, {"name": written}, {})["name"]
    if linked:
        top = (source.directory / ".git").exists()
        return naming.derived_name(
            source.directory, str(written or (repository if top else source.directory.name)), branch
        )
    return naming.slug(str(written)) if written else naming.derived_name(source.directory, None, None)


def _name_in_environment(world: World, source: Source) -> str | None:
    """`COMPOSE_PROJECT_NAME` of the process, else of the env files; Compose is asked only if one mentions it."""
    if name := {**os.environ, **dict(source.environment)}.get(_NAME_KEY):
        return name
    files = source.env_files or (source.directory / ".env",)
    mentioned = any(file.is_file() and _NAME_KEY in file.read_text(errors="replace") for file in files)
    return world.compose.variables(source).get(_NAME_KEY) if mentioned else None


def owner_elsewhere(world: World, name: str, directory: Path) -> str | None:
    """Who else has the name: another directory or home, or a Compose project that is not ours. None: nobody."""
    record = world.store.stack(name)
    if record and Path(record.path) != directory:
        return record.path
    marks = world.engine.stacks().get(name)
    if marks is None or (marks.get(labels.STACK) == name and marks.get(labels.HOME) == world.home):
        return None
    return marks.get(labels.DIRECTORY) or marks.get(labels.COMPOSE_DIRECTORY) or "another Compose project"


def displaced_by(world: World, source: Source, raw: Config, name: str) -> str | None:
    """The plain Compose project that has the name which the stack would else have. None: there is none."""
    if not _HASHED.search(name):
        return None
    own = _derived_name(world, source, raw)
    hashed = naming.with_path_hash(own, source.directory) == name
    return own if hashed and own != name and is_plain_compose(world, own) else None


def is_plain_compose(world: World, name: str) -> bool:
    """True: containers of that name were made by `docker compose`, not by a Moorage of whatever home."""
    marks = world.engine.stacks().get(name)
    return marks is not None and labels.STACK not in marks


def not_ours(world: World, name: str) -> DefinitionError:
    """The error for a name that somebody else's containers have, with what ends them."""
    marks = world.engine.stacks().get(name, {})
    if labels.STACK in marks:
        message = f"stack {name!r} belongs to another MOORAGE_HOME of this machine"
        return DefinitionError(message, hint="Set MOORAGE_HOME to it, or choose another --name.", stack=name)
    folder = marks.get(labels.COMPOSE_DIRECTORY)
    message = f"{name!r} is a plain Compose project, not a stack of Moorage" + (f" (of {folder})" if folder else "")
    hint = f"`docker compose -p {name} down` ends it; volumes stay. Or choose another --name."
    return DefinitionError(message, hint=hint, stack=name, command=f"docker compose -p {name} down")
