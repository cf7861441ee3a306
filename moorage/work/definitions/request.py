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
from moorage.model.image import ImageWish
from moorage.rules import labels, naming
from moorage.work.definitions.compose_variables import ENV_FILE, beginning, choices, env_files_from

_NAME_KEY = "COMPOSE_PROJECT_NAME"
_HASHED = re.compile("-[0-9a-f]{6}$")
"""The end of a name that another directory, or somebody else, had already."""


_NAME_LINE = re.compile(
    r"""(?:^|\A\s*\{\s*)["']?name["']?[ \t]*:[ \t]*["']?(?P<name>[\w-]+)""", re.ASCII | re.MULTILINE
)
"""Where a file says its name, in all likelihood."""


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
    images: ImageWish | None = None
    """What is asked for about images. None: what `build` says."""

    @property
    def wish(self) -> ImageWish:
        """What it asks for about images beyond what the definition says."""
        return self.images or ImageWish(build=None if self.build else frozenset())

    def on_record(self) -> dict[str, Any]:
        """As plain data, without the values of its variables: they may be secrets."""
        return self.model_dump(mode="json", exclude={"source": {"environment"}, "images": True})


def parameters_of(request: UpRequest, ttl: str | None = None) -> dict[str, Any]:
    """The request as parameters of the flow `up`: plain values that Prefect can store and show."""
    return {
        "path": str(request.source.called or request.source.directory),
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
    """The source that command-line options mean; where they are silent, what `COMPOSE_…` variables say, as in Compose.

    Paths are made absolute, the project's directory is found as Compose does. Raises DefinitionError.
    """
    here = Path.cwd()
    env_files = [str(here / file) for file in env_files]
    chosen = choices(os.environ, here / (directory or "."), files, profiles, env_files)
    folders = [here]
    if directory is None and not chosen.files and (above := _project_directory(here)) != here:
        folders.insert(0, above)  # a project is the same from each of its folders
        found = choices(os.environ, above, (), (), env_files).files
        chosen = chosen._replace(files=tuple(str(above / file) for file in found))
    paths = tuple(here / file for file in chosen.files)
    if directory and not files:
        pairs = zip(paths, chosen.files, strict=True)
        paths = tuple(path if os.path.exists(path) else here / directory / file for path, file in pairs)
    place = (here / directory).resolve() if directory else _place(here, paths).resolve()
    if not os.path.isdir(place):
        message = f"{place}: no such directory"
        raise DefinitionError(message, file=str(place), hint="Name one with --project-directory.")
    if directory is None and not files and not chosen.env_files:
        chosen = chosen._replace(env_files=env_files_from(folders, place))
    source = Source(
        directory=place,
        called=_called(directory, chosen.files, place),
        files=paths,
        profiles=chosen.profiles,
        env_files=tuple(here / file for file in chosen.env_files),
    )
    _refuse_lost_names(source)
    return source


def _refuse_lost_names(source: Source) -> None:
    """Engine, Compose and Prefect are told paths as JSON, which has only UTF-8: they would be told another one."""
    for path in (source.directory, *source.files, *source.env_files):
        if os.fsencode(path).decode(errors="ignore") != str(path):
            message = f"{path}: its name is not UTF-8, and neither the engine nor Prefect takes such a path"
            raise DefinitionError(message, file=str(path), hint="Rename it.")


def _place(here: Path, files: Sequence[Path]) -> Path:
    """The directory of a project that nobody has named: that of its first file."""
    return files[0].parent if files else _project_directory(here)


def _called(directory: Path | None, files: Sequence[str], place: Path) -> Path | None:
    """The project's directory as it was named, with links; the shell keeps them in `$PWD`. None: there are none."""
    here = Path(os.environ.get("PWD") or Path.cwd())
    asked = here / directory if directory else _place(here, [here / file for file in files])
    named = Path(os.path.normpath(asked))
    return named if named != place and named.resolve() == place else None


def _project_directory(here: Path) -> Path:
    """Where the compose file is: the first directory upward that has one."""
    for folder in (here, *here.parents):
        if any(os.path.isfile(folder / name) for name in FILE_NAMES):
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
    if given := _name_in_environment(world, request.source):
        name = naming.validate_name(given)
    else:
        derived = _derived_names(world, request.source, raw)
        name = _name_on_record(world, directory, derived) or derived[0]
    return naming.with_path_hash(name, directory) if owner_elsewhere(world, name, directory) else name


def likely_name(world: World, request: UpRequest) -> str | None:
    """The name that `name_of` is likely to find, before the definition has been read. None: nothing is likely.

    A guess, to have something read ahead under it. Raises DefinitionError: a name that nothing can have.
    """
    source = request.source
    if given := request.name or _name_in_process(source):
        return naming.validate_name(given)
    files = source.files or tuple(source.directory / name for name in FILE_NAMES)
    written = _NAME_LINE.search(next(filter(None, map(beginning, files)), ""))
    derived = _derived_names(world, source, {"name": written["name"]} if written else {})
    if known := _name_on_record(world, source.directory, derived):
        return known
    if written:
        return derived[0]
    there = [record.name for record in world.store.stacks() if Path(record.path) == source.directory]
    if len(there) == 1:
        return there[0]
    return None if there or _env_files_name_it(source) else derived[0]


def _derived_names(world: World, source: Source, raw: Config) -> tuple[str, ...]:
    """The name of a stack that was not given one; then those that are derived without links, and were earlier."""
    repository, branch, linked = world.place(source.directory)
    written = raw.get("name")
    if written and "$" in str(written):
        written = world.compose.interpolate(source, {"name": written}, {})["name"]
    if linked:
        top = os.path.exists(source.directory / ".git")
        name = naming.derived_name(
            source.directory, str(written or (repository if top else source.directory.name)), branch
        )
        return (name,)
    called, real = (str(written or path.name) for path in (source.called or source.directory, source.directory))
    return naming.normalized(called), naming.normalized(real), naming.slug(real)


def _name_on_record(world: World, directory: Path, derived: Sequence[str]) -> str | None:
    """The name under which the directory's stack is known, if it is one of the derived ones, or that with its hash.

    It keeps its hash when the other directory that had the name is gone.
    """
    known = (name for one in derived for name in (one, naming.with_path_hash(one, directory)))
    return next((name for name in known if _is_at(world, name, directory)), None)


def _is_at(world: World, name: str, directory: Path) -> bool:
    record = world.store.stack(name)
    return record is not None and Path(record.path) == directory


def _name_in_environment(world: World, source: Source) -> str | None:
    """`COMPOSE_PROJECT_NAME` of the process, else of the env files; Compose is asked only if one mentions it."""
    if name := _name_in_process(source):
        return name
    return world.compose.variables(source, [_NAME_KEY]).get(_NAME_KEY) if _env_files_name_it(source) else None


def _env_files_name_it(source: Source) -> bool:
    """True: they mention the name, perhaps in a comment."""
    return any(_NAME_KEY in beginning(file) for file in source.env_files or (source.directory / ENV_FILE,))


def _name_in_process(source: Source) -> str | None:
    return {**os.environ, **dict(source.environment)}.get(_NAME_KEY)


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
    given = _name_in_environment(world, source)
    for own in (given,) if given else _derived_names(world, source, raw):
        if own != name == naming.with_path_hash(own, source.directory) and is_plain_compose(world, own):
            return own
    return None


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
